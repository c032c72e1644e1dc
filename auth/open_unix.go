//go:build unix

package auth

import (
	"os"
	"syscall"
)

// openFile opens a file for reading without waiting for a writer, as a FIFO
// would, and without making a terminal that of the agent.
func openFile(name string) (*os.File, error) {
	return os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
}
