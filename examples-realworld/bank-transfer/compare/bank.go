// Transfers between accounts by goroutines, with a sync.Mutex for each account taken in order.
//
//	bank ACCOUNTS THREADS TRANSFERS
//
// Prints the checksum of the balances, and the seconds that the transfers and audits took. The
// transfers, the pieces they are handed out in and the number of audits are those of the Rust
// program. An audit takes the lock of each account; there it takes one lock around them all.
package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"
)

const (
	seed         = 1
	initial      = 1_000_000_000_000
	largestPiece = 4096
)

var (
	errSameAccount  = errors.New("same account")
	errNotPositive  = errors.New("not positive")
	errInsufficient = errors.New("insufficient")
)

type account struct {
	sync.Mutex
	balance int64
}

func order(index, accounts uint64) (from, to uint64, cents int64) {
	z := seed + (index+1)*0x9e3779b97f4a7c15
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb
	z ^= z >> 31
	from = ((z >> 40) * accounts) >> 24
	to = ((z >> 16 & 0xffffff) * (accounts - 1)) >> 24
	if to >= from {
		to++
	}
	return from, to, 1 + int64((z&0xffff)*10_000>>16)
}

func transfer(accounts []account, from, to uint64, cents int64) error {
	if from == to {
		return errSameAccount
	}
	if cents <= 0 {
		return errNotPositive
	}
	source, target := &accounts[from], &accounts[to]
	first, second := source, target
	if from > to {
		first, second = target, source
	}
	first.Lock()
	second.Lock()
	covered := cents <= source.balance
	if covered {
		source.balance -= cents
		target.balance += cents
	}
	second.Unlock()
	first.Unlock()
	if !covered {
		return errInsufficient
	}
	return nil
}

func audit(accounts []account, total int64) {
	sum := int64(0)
	for i := range accounts {
		accounts[i].Lock()
		if accounts[i].balance < 0 {
			panic("a negative balance")
		}
		sum += accounts[i].balance
	}
	for i := range accounts {
		accounts[i].Unlock()
	}
	if sum != total {
		panic("a wrong total")
	}
}

// Hands out pieces; workers may run one interval ahead of the auditor.
type schedule struct {
	sync.Mutex
	changed                           *sync.Cond
	transfers, interval, next, audits uint64
	workers                           int
}

func newSchedule(transfers, accounts uint64, workers int) *schedule {
	interval := transfers / 64
	if interval < 4*accounts {
		interval = 4 * accounts
	}
	if interval > transfers/18 {
		interval = transfers / 18
	}
	if interval == 0 {
		interval = 1
	}
	s := &schedule{transfers: transfers, interval: interval, workers: workers}
	s.changed = sync.NewCond(s)
	return s
}

func (s *schedule) nextPiece() (first, end uint64) {
	s.Lock()
	defer s.Unlock()
	for s.next < s.transfers && s.next/s.interval > s.audits+1 {
		s.changed.Wait()
	}
	first = s.next
	end = (first/s.interval + 1) * s.interval
	if end > first+largestPiece {
		end = first + largestPiece
	}
	if end > s.transfers {
		end = s.transfers
	}
	s.next = end
	if first%s.interval == 0 || first == s.transfers {
		s.changed.Broadcast()
	}
	return first, end
}

func (s *schedule) leave() {
	s.Lock()
	s.workers--
	s.Unlock()
	s.changed.Broadcast()
}

func (s *schedule) waitUntilDue() bool {
	s.Lock()
	defer s.Unlock()
	for s.workers > 0 && s.next <= s.audits*s.interval {
		s.changed.Wait()
	}
	return s.workers > 0
}

func (s *schedule) audited() {
	s.Lock()
	s.audits++
	s.Unlock()
	s.changed.Broadcast()
}

func main() {
	var numbers [3]uint64
	for i := range numbers {
		number, err := strconv.ParseUint(os.Args[i+1], 10, 64)
		if err != nil {
			panic(err)
		}
		numbers[i] = number
	}
	count, workers, transfers := numbers[0], int(numbers[1]), numbers[2]
	accounts := make([]account, count)
	for i := range accounts {
		accounts[i].balance = initial
	}
	s := newSchedule(transfers, count, workers)
	refused := make([]uint64, workers)
	var group sync.WaitGroup
	group.Add(workers + 1)
	begin := time.Now()
	go func() {
		defer group.Done()
		for s.waitUntilDue() {
			audit(accounts, int64(count)*initial)
			s.audited()
		}
	}()
	for worker := 0; worker < workers; worker++ {
		go func(worker int) {
			defer group.Done()
			defer s.leave()
			mine := uint64(0)
			for first, end := s.nextPiece(); first < end; first, end = s.nextPiece() {
				for index := first; index < end; index++ {
					from, to, cents := order(index, count)
					if transfer(accounts, from, to, cents) != nil {
						mine++
					}
				}
			}
			refused[worker] = mine
		}(worker)
	}
	group.Wait()
	seconds := time.Since(begin).Seconds()
	checksum, allRefused := uint64(0), uint64(0)
	for i := range accounts {
		checksum += uint64(i+1) * uint64(accounts[i].balance)
	}
	for _, mine := range refused {
		allRefused += mine
	}
	fmt.Printf("checksum %d refused %d\n", checksum, allRefused)
	fmt.Printf("# seconds %.6f\n", seconds)
}
