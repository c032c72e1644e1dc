package canary

import (
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"runtime/debug"
	"strings"
)

// Stderr is what the process writes to stderr, by package log, slog's default
// logger, or any other way. The library writes nothing there, and neither may
// anything that it uses: net/http logs what a server sends without being asked.
type Stderr struct {
	file    *os.File // a file, for nothing must run to empty it
	stderr  *os.File
	log     io.Writer
	restore func() error
}

// CaptureStderr keeps what is written to stderr, until Release. It is the whole
// process's, so tests that capture are not parallel. Captures can be nested.
func CaptureStderr() (*Stderr, error) {
	file, err := os.CreateTemp("", "stderr")
	if err != nil {
		return nil, err
	}
	s := &Stderr{file: file, stderr: os.Stderr, log: log.Writer()}
	if s.restore, err = redirect(file); err != nil {
		return nil, err
	}
	os.Stderr = file
	log.SetOutput(file)
	return s, nil
}

// String is what has been written so far.
func (s *Stderr) String() string {
	text, err := os.ReadFile(s.file.Name())
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// Release ends the capture and returns all that was written.
func (s *Stderr) Release() string {
	text := s.String()
	os.Stderr = s.stderr
	log.SetOutput(s.log)
	if err := s.restore(); err != nil {
		text += err.Error()
	}
	s.file.Close()
	os.Remove(s.file.Name())
	return text
}

// Silent runs the tests of a package, and returns the code to exit with: not 0 if
// anything was written to stderr, which is shown when they have ended. Package
// testing writes to stdout, but for its warnings.
func Silent(run func() int) int {
	if fuzzing := flag.Lookup("test.fuzz"); fuzzing != nil && fuzzing.Value.String() != "" {
		return run() // fuzzing reports its progress to stderr
	}
	debug.SetCrashOutput(os.Stderr, debug.CrashOptions{}) // a crash is still shown
	stderr, err := CaptureStderr()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := run()
	text := stderr.Release()
	debug.SetCrashOutput(nil, debug.CrashOptions{})
	os.Stderr.WriteString(text)
	for line := range strings.Lines(text) {
		if code == 0 && !strings.HasPrefix(line, "testing: ") {
			fmt.Fprintln(os.Stderr, "FAIL: the library, or a test, wrote the above to stderr")
			return 1
		}
	}
	return code
}
