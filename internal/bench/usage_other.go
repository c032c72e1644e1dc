//go:build !linux

package main

import "time"

// Elsewhere processor time and memory are not measured.

func cpuTime() time.Duration { return 0 }

func peak() int64 { return 0 }
