// The same with Go's net/http: scraper URLS WORKERSxLATENCY.
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"
)

var title = regexp.MustCompile(`(?i)<title[^>]*>([^<]*)</title>`)

type result struct {
	status, size int
	title        string
}

func fetch(client *http.Client, url string) result {
	response, err := client.Get(url)
	if err != nil {
		return result{}
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return result{}
	}
	found := title.FindSubmatch(body)
	if found == nil {
		return result{response.StatusCode, len(body), ""}
	}
	return result{response.StatusCode, len(body), string(found[1])}
}

func main() {
	text, err := os.ReadFile(os.Args[1])
	if err != nil {
		panic(err)
	}
	workers, _ := strconv.Atoi(strings.Split(os.Args[2], "x")[0])
	client := &http.Client{
		Timeout:   10 * time.Second,
		Transport: &http.Transport{MaxIdleConnsPerHost: workers},
	}
	urls := make(chan string, 256)
	results := make(chan result, 256)
	for i := 0; i < workers; i++ {
		go func() {
			for url := range urls {
				results <- fetch(client, url)
			}
		}()
	}
	list := strings.Fields(string(text))
	go func() {
		for _, url := range list {
			urls <- url
		}
		close(urls)
	}()
	pages, total, numbers := 0, 0, 0
	for range list {
		result := <-results
		if result.status == 200 {
			number, _ := strconv.Atoi(result.title[strings.LastIndex(result.title, "/")+1:])
			pages, total, numbers = pages+1, total+result.size, numbers+number
		}
	}
	fmt.Printf("%d pages, %d bytes, numbers %d\n", pages, total, numbers)
}
