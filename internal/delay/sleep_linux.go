package delay

import (
	"syscall"
	"time"
)

// sleep is exact to a tenth of a millisecond. In an idle program, time.Sleep is late by up
// to a millisecond.
func sleep(d time.Duration) {
	if d <= 0 {
		return
	}
	t := syscall.NsecToTimespec(int64(d))
	syscall.Nanosleep(&t, nil)
}
