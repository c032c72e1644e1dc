package transport

import (
	"context"
	"errors"
	"net"
	"strings"
	"syscall"
)

// isNetwork reports whether an error comes from the network, not from TLS.
func isNetwork(err error) bool {
	_, isOperation := errors.AsType[*net.OpError](err)
	return isOperation || isTimeout(err) || isReset(err) || strings.Contains(err.Error(), "EOF")
}

func isDial(err error) bool {
	operation, ok := errors.AsType[*net.OpError](err)
	return ok && operation.Op == "dial"
}

func isTimeout(err error) bool {
	network, ok := errors.AsType[net.Error](err)
	return ok && network.Timeout() || errors.Is(err, context.DeadlineExceeded)
}

// isClosedIdle reports whether the connection was closed before the request used it. The
// error of net/http for that is not exported.
func isClosedIdle(err error) bool {
	return errors.Is(err, errStray) || strings.Contains(err.Error(), "server closed")
}

// Winsock's own error numbers, which differ from those of package syscall.
const (
	wsaConnectionAborted syscall.Errno = 10053
	wsaConnectionReset   syscall.Errno = 10054
	wsaConnectionRefused syscall.Errno = 10061
)

func isRefused(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, wsaConnectionRefused)
}

func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNABORTED) ||
		errors.Is(err, wsaConnectionReset) || errors.Is(err, wsaConnectionAborted)
}
