//go:build !((linux || darwin) && (amd64 || arm64))

package engine

import "context"

const supported = false

// Main does nothing here: there is no engine for this platform.
func Main() {}

func canServe() error { return ErrUnsupported }

func (f folder) start(context.Context, Options) (state, error) { return state{}, ErrUnsupported }
