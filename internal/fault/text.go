package fault

import (
	"fmt"
	"time"
)

// Encodable returns t in UTC, or zero if JSON cannot hold it.
func Encodable(t time.Time) time.Time {
	if t = t.UTC(); t.Year() < 1 || t.Year() > 9999 {
		return time.Time{}
	}
	return t
}

// Time formats t to the minute, in UTC.
func Time(t time.Time) string { return t.UTC().Format("2006-01-02 15:04Z") }

// Duration formats d as a person would say it: 30 days, 5 hours, 90 minutes, 60s, 2.5s, 20ms.
func Duration(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d >= 2*day:
		return fmt.Sprintf("%d days", d.Round(day)/day)
	case d >= 2*time.Hour:
		return fmt.Sprintf("%d hours", d.Round(time.Hour)/time.Hour)
	case d >= 3*time.Minute:
		return fmt.Sprintf("%d minutes", d.Round(time.Minute)/time.Minute)
	case d >= 10*time.Second:
		return fmt.Sprintf("%ds", int(d.Round(time.Second).Seconds()))
	case d >= time.Second:
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Millisecond).String()
}
