package vaulttest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"
)

// leash runs a program that must not outlive this process, even if this one is
// killed. Its standard input is a pipe whose other end this process alone holds:
// a line says "kill the program"; the end of the input, which the kernel brings
// about when this process is gone, says "and remove the folder". When the
// program ends by itself, so does the shell, with its status.
//
// The folder is removed only after the program is reaped, and the inner shell
// ignores the outer one's kill once it has been told what to do: so neither can
// cut the other's work short.
const leash = `
trap '' HUP INT
folder=$1; shift
exec 3<&0 </dev/null
"$@" 3<&- & program=$!
(read -r line <&3; told=$?; trap '' TERM; kill -9 $program; exit $told) 2>/dev/null & leash=$!
wait $program; status=$?
kill $leash 2>/dev/null
wait $leash
[ $? -ne 1 ] || rm -rf "$folder"
exit $status`

// process is a program on its leash.
type process struct {
	pipe io.WriteCloser
	done chan struct{} // closed when the program has ended
	once sync.Once
}

// start runs a program with its output appended to the file log and with
// nothing of this process's environment.
func start(dir, log string, args []string) (*process, error) {
	output, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer output.Close()
	cmd := exec.Command("/bin/sh", append([]string{"-c", leash, "sh", dir}, args...)...)
	cmd.Dir = dir
	cmd.Env = []string{"HOME=" + dir, "TMPDIR=" + dir, "PATH=" + os.Getenv("PATH")}
	cmd.Stdout, cmd.Stderr = output, output
	pipe, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{pipe: pipe, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		cmd.Wait() // how it ended is in its log
	}()
	return p, nil
}

const (
	keepFolder   = "keep\n"
	removeFolder = ""
)

// end kills the program and returns when it is gone.
func (p *process) end(last string) {
	p.once.Do(func() {
		io.WriteString(p.pipe, last) // fails only where the program is gone
		p.pipe.Close()
	})
	<-p.done
}

// wait polls until the program is ready, or has ended, or ctx ends.
func (p *process) wait(ctx context.Context, ready func() bool) error {
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for !ready() {
		select {
		case <-ticker.C:
		case <-p.done:
			return errors.New("vault ended")
		case <-ctx.Done():
			return fmt.Errorf("vault is not ready: %w", ctx.Err())
		}
	}
	return nil
}

// explain adds the end of what a program printed to an error.
func explain(err error, log string) error {
	text, readErr := os.ReadFile(log)
	if readErr != nil {
		return err
	}
	if bytes.Contains(text, []byte("address already in use")) {
		return errPortTaken
	}
	return fmt.Errorf("%w; the end of its log:\n%s", err, text[max(0, len(text)-4096):])
}
