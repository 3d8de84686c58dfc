//go:build unix

package ingest

import (
	"os"
	"syscall"
)

// identity is what stays when a file is renamed.
func identity(info os.FileInfo) (device, inode uint64) {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(s.Dev), uint64(s.Ino) //nolint:unconvert // their types differ between systems
	}
	return 0, 0
}
