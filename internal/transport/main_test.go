package transport_test

import (
	"os"
	"testing"

	"github.com/luumen/patch-vault/internal/vaulttest"
)

func TestMain(m *testing.M) { os.Exit(vaulttest.Main(m)) }
