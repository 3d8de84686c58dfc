//go:build !linux && !darwin

package engine

func machineMemory() int64 { return 0 }
