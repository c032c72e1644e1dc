package canary

import (
	"os"
	"syscall"
)

const stderr = 2

// redirect sends everything that is written to the process's stderr to the file.
func redirect(file *os.File) (restore func() error, err error) {
	copied, err := syscall.Dup(stderr)
	if err != nil {
		return nil, err
	}
	syscall.CloseOnExec(copied)
	if err := syscall.Dup3(int(file.Fd()), stderr, 0); err != nil {
		syscall.Close(copied)
		return nil, err
	}
	return func() error {
		defer syscall.Close(copied)
		return syscall.Dup3(copied, stderr, 0)
	}, nil
}
