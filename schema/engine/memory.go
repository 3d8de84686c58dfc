package engine

import (
	"os"
	"strconv"
	"strings"
)

const gib = 1 << 30

// defaultMemory is a quarter of the memory that this process may use, but at least
// 1 GiB and at most 4: the engine is one part of a program beside others.
func defaultMemory() int64 {
	return min(max(memory()/4, gib), 4*gib)
}

// memory is the machine's memory in bytes, or its control group's limit if lower;
// 0 if unknown.
func memory() int64 {
	total := machineMemory()
	b, _ := os.ReadFile("/sys/fs/cgroup/memory.max")
	if limit, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64); err == nil {
		total = min(total, limit)
	}
	return total
}
