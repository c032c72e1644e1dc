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

// leash runs a program that must not outlive this process, even if this process is killed.
// The shell's standard input is a pipe whose other end only this process holds. A line on
// it means "kill the program". Its end, even after this process was killed, means "kill the
// program and remove the folder". If the program ends by itself, the shell ends with its
// status.
//
// The folder is removed only after the program has ended. The inner shell ignores the
// outer one's kill once it has its command, so that neither stops the other too early.
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

// start runs a program without this process's environment, and appends its output to the
// file log.
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
		cmd.Wait() // its log says how it ended
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
		io.WriteString(p.pipe, last) // fails only if the program is gone
		p.pipe.Close()
	})
	<-p.done
}

// wait polls until the program is ready or has ended, or ctx ends.
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

// explain adds the end of a program's output to an error.
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
