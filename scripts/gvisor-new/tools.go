//go:build tools

// Package tools names what scripts/setup builds, so that go.mod keeps it.
package tools

import _ "gvisor.dev/gvisor/runsc"
