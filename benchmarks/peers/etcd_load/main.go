// Loads on etcd through clientv3.
//
//	etcd_load -read-share 0.5 -endpoints 127.0.0.1:2379 -outstanding 64 -connections 8
//
// is a closed loop: an operation that ends is followed by the next at once. Prints "measuring" and
// "done" on standard error around the window that counts, and one JSON object on standard output. A
// get is linearizable, etcd's default. With -count the window is from the first operation to the last.
//
//	etcd_load -mode open -endpoints 127.0.0.1:2379,127.0.0.1:2381 -rate 500 -connections 3
//
// is an open loop of puts: arrivals do not wait for answers. Prints the time of day, in seconds, at
// which each put completed, and goes on until it is killed.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand"
	"os"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.etcd.io/etcd/clientv3"
	"go.uber.org/zap"
)

const keyCount = 1000

var (
	readShare   = flag.Float64("read-share", 0, "share of gets in a closed loop, 0 to 1")
	mode        = flag.String("mode", "closed", "closed or open")
	endpoints   = flag.String("endpoints", "", "comma separated host:port")
	outstanding = flag.Int("outstanding", 1, "operations under way at once, in total")
	connections = flag.Int("connections", 8, "client connections, at most one per operation")
	duration    = flag.Duration("duration", 5*time.Second, "the window that counts")
	warmup      = flag.Duration("warmup", time.Second, "before the window")
	valueSize   = flag.Int("value-size", 64, "bytes")
	count       = flag.Int64("count", 0, "operations in all, instead of -warmup and -duration")
	rate        = flag.Int("rate", 500, "puts per second that arrive in an open loop")
	timeout     = flag.Duration("timeout", 10*time.Second, "of each put in an open loop")
)

var measuring, stopping, failed, begun int64

func main() {
	flag.Parse()
	if *mode == "open" {
		openLoop(dialAll())
	}
	if *connections > *outstanding {
		*connections = *outstanding
	}
	clients := dialAll()
	if *count > 0 {
		*warmup = 0
	}
	latencies := make([][]time.Duration, *outstanding)
	var loops sync.WaitGroup
	if *count > 0 {
		atomic.StoreInt64(&measuring, 1)
	}
	for i := range latencies {
		loops.Add(1)
		go func(i int) {
			defer loops.Done()
			latencies[i] = loop(clients[i%*connections], int64(i))
		}(i)
	}

	time.Sleep(*warmup)
	atomic.StoreInt64(&measuring, 1)
	fmt.Fprintln(os.Stderr, "measuring")
	started, used := time.Now(), cpuSeconds()
	if *count > 0 {
		loops.Wait()
	} else {
		time.Sleep(*duration)
	}
	atomic.StoreInt64(&measuring, 0)
	seconds, used := time.Since(started).Seconds(), cpuSeconds()-used
	fmt.Fprintln(os.Stderr, "done")
	atomic.StoreInt64(&stopping, 1)
	loops.Wait()

	var all []time.Duration
	for _, each := range latencies {
		all = append(all, each...)
	}
	sort.Slice(all, func(i, j int) bool { return all[i] < all[j] })
	json.NewEncoder(os.Stdout).Encode(map[string]interface{}{
		"n": len(all), "errors": failed, "secs": seconds, "cli_cpu_s": used,
		"p50_ms": quantile(all, 0.5), "p90_ms": quantile(all, 0.9),
		"p99_ms": quantile(all, 0.99), "p999_ms": quantile(all, 0.999),
	})
}

func dialAll() []*clientv3.Client {
	clients := make([]*clientv3.Client, *connections)
	for i := range clients {
		clients[i] = dial()
	}
	return clients
}

func dial() *clientv3.Client {
	logging := zap.NewProductionConfig()
	logging.Level = zap.NewAtomicLevelAt(zap.FatalLevel)
	client, err := clientv3.New(clientv3.Config{
		Endpoints:   strings.Split(*endpoints, ","),
		DialTimeout: 5 * time.Second,
		LogConfig:   &logging,
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return client
}

// loop runs one operation after another and returns the latencies of those inside the window;
// what fails counts there only, too.
func loop(client *clientv3.Client, seed int64) []time.Duration {
	random := rand.New(rand.NewSource(seed + 1))
	value := strings.Repeat("v", *valueSize)
	counted := make([]time.Duration, 0, 1<<14)
	for atomic.LoadInt64(&stopping) == 0 {
		if *count > 0 && atomic.AddInt64(&begun, 1) > *count {
			break
		}
		key := fmt.Sprintf("k%015d", random.Intn(keyCount))
		reading := random.Float64() < *readShare
		started := time.Now()
		var err error
		if reading {
			_, err = client.Get(context.Background(), key)
		} else {
			_, err = client.Put(context.Background(), key, value)
		}
		latency := time.Since(started)
		if atomic.LoadInt64(&measuring) == 0 {
			continue
		}
		if err != nil {
			atomic.AddInt64(&failed, 1)
		} else {
			counted = append(counted, latency)
		}
	}
	return counted
}

// openLoop has puts arrive at the clients in turn, for ever.
func openLoop(clients []*clientv3.Client) {
	value := strings.Repeat("v", *valueSize)
	started := time.Now()
	for i := 0; ; i++ {
		time.Sleep(time.Until(started.Add(time.Duration(i) * time.Second / time.Duration(*rate))))
		go func(client *clientv3.Client, key string) {
			limited, cancel := context.WithTimeout(context.Background(), *timeout)
			defer cancel()
			if _, err := client.Put(limited, key, value); err == nil {
				fmt.Printf("%.6f\n", float64(time.Now().UnixNano())/1e9)
			}
		}(clients[i%len(clients)], fmt.Sprintf("k%015d", i%keyCount))
	}
}

func cpuSeconds() float64 {
	var used syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &used)
	seconds := func(t syscall.Timeval) float64 { return float64(t.Sec) + float64(t.Usec)/1e6 }
	return seconds(used.Utime) + seconds(used.Stime)
}

// quantile returns milliseconds, -1 if there is nothing to take one of.
func quantile(ordered []time.Duration, share float64) float64 {
	if len(ordered) == 0 {
		return -1
	}
	index := int(share * float64(len(ordered)))
	return float64(ordered[index]) / 1e6
}
