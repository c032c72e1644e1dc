//go:build unix

package auth

import (
	"os"
	"syscall"
)

// openFile opens a file for reading. It does not wait for a writer of a FIFO, and does
// not make a terminal the agent's controlling terminal.
func openFile(name string) (*os.File, error) {
	return os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
}
