// The same stream with Go's channels: source, bounded channel, workers, output stage.
//
//	realtime ITEMS [WORKERS] [QUEUE] [BATCH] [RATE]
//
// BATCH 1 hands items over one by one; more sends slices of that many. RATE is in items per
// second, 0 for as fast as it goes.
package main

import (
	"fmt"
	"os"
	"sort"
	"strconv"
	"sync"
	"time"
)

const (
	golden = 0x9E3779B97F4A7C15
	seed   = 42
)

type item struct {
	number uint64
	taken  time.Time
	value  int64
}

type result struct {
	number uint64
	value  int64
	worker int
	done   time.Time
}

func main() {
	arguments := []int{100000, 3, 1024, 1, 0}
	for at, text := range os.Args[1:] {
		number, err := strconv.ParseFloat(text, 64)
		if err != nil || at >= len(arguments) {
			fmt.Fprintln(os.Stderr, "usage: realtime ITEMS [WORKERS] [QUEUE] [BATCH] [RATE]")
			os.Exit(2)
		}
		arguments[at] = int(number)
	}
	count, workers, capacity, size, rate := arguments[0], arguments[1], arguments[2], arguments[3], arguments[4]
	latencies := make([][]int64, workers)
	start := time.Now()
	var out, total int64
	if size == 1 {
		out, total = oneByOne(count, workers, capacity, rate, latencies)
	} else {
		out, total = inBatches(count, workers, capacity, size, rate, latencies)
	}
	seconds := time.Since(start).Seconds()

	if out != int64(count) {
		panic("items were lost")
	}
	fmt.Printf("in %d, out %d, failed 0, not processed 0, sum %d\n", count, out, total)
	fmt.Printf("# seconds %.6f\n", seconds)
	var inOrder []int64
	for _, part := range latencies {
		inOrder = append(inOrder, part...)
	}
	if len(inOrder) > 0 {
		sort.Slice(inOrder, func(a, b int) bool { return inOrder[a] < inOrder[b] })
		at := func(share float64) float64 {
			return float64(inOrder[int(float64(len(inOrder)-1)*share)]) / 1000
		}
		fmt.Printf("# latency p50 %.1f µs, p99 %.1f µs, max %.1f µs\n", at(0.5), at(0.99), at(1))
	}
}

// generate calls send for each item, at most rate times a second.
func generate(count, rate int, send func(item)) {
	start := time.Now()
	for number := 1; number <= count; number++ {
		if rate > 0 {
			due := time.Duration(float64(number) / float64(rate) * float64(time.Second))
			if wait := due - time.Since(start); wait > 0 {
				time.Sleep(wait)
			}
		}
		value := int64((uint64(number)+seed)*golden%100 + 1)
		send(item{uint64(number), time.Now(), value})
	}
}

func process(in item, worker int, latencies *[]int64) result {
	done := time.Now()
	*latencies = append(*latencies, done.Sub(in.taken).Nanoseconds())
	return result{in.number, in.value * 2, worker, done}
}

func oneByOne(count, workers, capacity, rate int, latencies [][]int64) (out, total int64) {
	inbox, outbox := make(chan item, capacity), make(chan result, capacity)
	go func() {
		generate(count, rate, func(in item) { inbox <- in })
		close(inbox)
	}()
	var working sync.WaitGroup
	for worker := 0; worker < workers; worker++ {
		working.Add(1)
		go func(worker int) {
			defer working.Done()
			for in := range inbox {
				outbox <- process(in, worker, &latencies[worker])
			}
		}(worker)
	}
	go func() { working.Wait(); close(outbox) }()
	for result := range outbox {
		out++
		total += result.value
	}
	return
}

func inBatches(count, workers, capacity, size, rate int, latencies [][]int64) (out, total int64) {
	room := capacity / size
	if room < 1 {
		room = 1
	}
	inbox, outbox := make(chan []item, room), make(chan []result, room)
	go func() {
		batch := make([]item, 0, size)
		generate(count, rate, func(in item) {
			batch = append(batch, in)
			if len(batch) == size {
				inbox <- batch
				batch = make([]item, 0, size)
			}
		})
		if len(batch) > 0 {
			inbox <- batch
		}
		close(inbox)
	}()
	var working sync.WaitGroup
	for worker := 0; worker < workers; worker++ {
		working.Add(1)
		go func(worker int) {
			defer working.Done()
			for batch := range inbox {
				results := make([]result, 0, len(batch))
				for _, in := range batch {
					results = append(results, process(in, worker, &latencies[worker]))
				}
				outbox <- results
			}
		}(worker)
	}
	go func() { working.Wait(); close(outbox) }()
	for results := range outbox {
		for _, result := range results {
			out++
			total += result.value
		}
	}
	return
}
