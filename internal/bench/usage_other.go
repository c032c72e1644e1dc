//go:build !linux

package main

import "time"

// CPU time and memory are measured on Linux only.

func cpuTime() time.Duration { return 0 }

func peak() int64 { return 0 }
