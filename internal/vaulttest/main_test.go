package vaulttest_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/luumen/patch-vault/internal/vaulttest"
)

// orphan, when set, makes this test binary a program that starts a server, says
// where it is, and waits to be killed. See TestServerDiesWithItsStarter.
const orphan = "VAULTTEST_ORPHAN"

func TestMain(m *testing.M) {
	if os.Getenv(orphan) != "" {
		server, err := vaulttest.Start(vaulttest.Config{})
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(server.Address, server.AuditFile)
		select {}
	}
	os.Exit(vaulttest.Main(m))
}
