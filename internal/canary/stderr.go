package canary

import (
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"regexp"
	"runtime/debug"
	"strings"
)

// Stderr captures what the process writes to stderr, with package log, slog's default
// logger, or in any other way. Neither the library nor its dependencies may write there;
// net/http would log unsolicited data from a server.
type Stderr struct {
	file    *os.File // a file, since a pipe would need a reader
	stderr  *os.File
	log     io.Writer
	restore func() error
}

// CaptureStderr captures stderr until Release. Stderr belongs to the whole process, so tests
// that capture it are not parallel. Captures can be nested.
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

// Release ends the capture and returns everything that was written.
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

// fromServer matches what net/http's server and httputil's proxy write to the process's
// log. Its client's lines begin differently.
var fromServer = regexp.MustCompile(`^[0-9/]+ [0-9:]+ http: (TLS handshake|proxy) error`)

// Silent runs the tests of a package and returns the exit code, which is not 0 if anything
// was written to stderr. It prints that afterwards. Package testing writes to stdout,
// except for its warnings. The servers of tests may log that a client hung up.
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
		if code == 0 && !strings.HasPrefix(line, "testing: ") && !fromServer.MatchString(line) {
			fmt.Fprintln(os.Stderr, "FAIL: the library, or a test, wrote the above to stderr")
			return 1
		}
	}
	return code
}
