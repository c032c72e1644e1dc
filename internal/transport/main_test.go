package transport_test

import (
	"os"
	"testing"

	"github.com/luumen/patch-vault/internal/canary"
	"github.com/luumen/patch-vault/internal/vaulttest"
)

func TestMain(m *testing.M) { os.Exit(canary.Silent(func() int { return vaulttest.Main(m) })) }
