package delay

import (
	"syscall"
	"time"
)

// sleep is exact to a tenth of a millisecond; time.Sleep in an idle program
// is late by up to a whole one.
func sleep(d time.Duration) {
	if d <= 0 {
		return
	}
	t := syscall.NsecToTimespec(int64(d))
	syscall.Nanosleep(&t, nil)
}
