//go:build !linux

package canary

import "os"

// redirect leads nothing elsewhere: os.Stderr and package log have to do.
func redirect(*os.File) (restore func() error, err error) {
	return func() error { return nil }, nil
}
