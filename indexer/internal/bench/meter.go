package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// meter times stages and prints them against the first.
type meter struct {
	pids   []int // reader, node, engine
	served *served
	out    io.Writer
	wire   float64 // seconds of the first stage
}

func (m *meter) stage(name string, run func() error) error {
	before := make([]float64, len(m.pids))
	for i, pid := range m.pids {
		before[i] = cpu(pid)
	}
	began := time.Now()
	if err := run(); err != nil {
		return err
	}
	seconds := time.Since(began).Seconds()
	if m.wire == 0 {
		m.wire = seconds
	}
	var total float64
	var each []string
	seen := map[int]bool{}
	for i, pid := range m.pids {
		used := cpu(pid) - before[i]
		each = append(each, fmt.Sprintf("%.2f", used))
		if !seen[pid] {
			total += used
			seen[pid] = true
		}
	}
	logs := float64(m.served.logs)
	fmt.Fprintf(m.out, "%-9s %9.3f %9.0f %8.0f %8.2f %14.0f %24s\n", name, seconds, logs/seconds, float64(m.served.bytes)/seconds/1e6, m.wire/seconds,
		logs/max(total, 0.01), strings.Join(each, " / "))
	return nil
}

// cpu is what a process used so far, in seconds; 0 where the system does not tell.
func cpu(pid int) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	const ticks = 100 // a second
	user, _ := strconv.ParseFloat(fields[11], 64)
	system, _ := strconv.ParseFloat(fields[12], 64)
	return (user + system) / ticks
}

// resident is the memory of a process in MB; 0 where the system does not tell.
func resident(pid int) int {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kB, _ := strconv.Atoi(strings.Fields(rest)[0])
			return kB / 1024
		}
	}
	return 0
}

// watch samples the memory of processes until the returned func is called, which tells the peak of each quarter of the time.
func watch(pids ...int) func() string {
	var samples []int
	stop := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			sum := 0
			for _, pid := range pids {
				sum += resident(pid)
			}
			samples = append(samples, sum)
			select {
			case <-tick.C:
			case <-stop:
				return
			}
		}
	})
	return func() string {
		close(stop)
		running.Wait()
		var peaks [4]int
		for i, s := range samples {
			quarter := i * 4 / len(samples)
			peaks[quarter] = max(peaks[quarter], s)
		}
		return fmt.Sprintf("%d / %d / %d / %d", peaks[0], peaks[1], peaks[2], peaks[3])
	}
}
