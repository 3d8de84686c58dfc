//go:build (linux || darwin) && (amd64 || arm64)

package engine

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"unsafe"

	"github.com/ebitengine/purego"
)

// runLocal runs clickhouse-local out of the library with the given arguments and
// returns when that ends. A process can do this once.
func runLocal(lib string, args []string) error {
	handle, err := purego.Dlopen(lib, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return fmt.Errorf("cannot load the engine library %s: %w", lib, err)
	}
	var (
		signalHandlers func(enabled int32)
		queryCmdline   func(argc int32, argv unsafe.Pointer) unsafe.Pointer
		resultError    func(result unsafe.Pointer) unsafe.Pointer
	)
	for name, fn := range map[string]any{
		"chdb_set_signal_handlers_enabled": &signalHandlers,
		"chdb_query_cmdline":               &queryCmdline,
		"chdb_result_error":                &resultError,
	} {
		symbol, err := purego.Dlsym(handle, name)
		if err != nil {
			return fmt.Errorf("the engine library %s is not the one this program needs: it has no %s", lib, name)
		}
		purego.RegisterFunc(fn, symbol)
	}
	signalHandlers(0) // Go's handlers stay: the library's run on stacks too small for Go

	// The library keeps the thread that it was called on, and reads the arguments
	// for as long as it runs.
	runtime.LockOSThread()
	var pinned runtime.Pinner
	defer pinned.Unpin()
	argv := make([]unsafe.Pointer, 0, len(args)+2)
	for _, arg := range append([]string{"clickhouse-local"}, args...) {
		text := append([]byte(arg), 0)
		pinned.Pin(&text[0])
		argv = append(argv, unsafe.Pointer(&text[0]))
	}
	argc := int32(len(argv))
	argv = append(argv, nil)
	pinned.Pin(&argv[0])

	result := queryCmdline(argc, unsafe.Pointer(&argv[0]))
	if result == nil {
		return errors.New("the engine returned nothing")
	}
	message := resultError(result)
	if message == nil {
		return nil
	}
	n := 0
	for *(*byte)(unsafe.Add(message, n)) != 0 {
		n++
	}
	// The first line says it; what follows is a stack trace.
	text, _, _ := strings.Cut(string(unsafe.Slice((*byte)(message), n)), "\n")
	return errors.New(strings.TrimSuffix(text, ", Stack trace (when copying this message, always include the lines below):"))
}
