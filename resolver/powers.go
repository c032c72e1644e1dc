package resolver

import (
	"context"
	"slices"

	"github.com/luumen/patch-vault/internal/session"
)

// powers are what the token may do beside reading.
type powers struct {
	root    bool
	write   map[string]bool // by the path of Vault's API
	unknown string          // why it is not known, and what to do
}

// mostPaths is how many paths one question holds. Vault refuses JSON lists of
// more than 10,000.
const mostPaths = 1000

// askPowers asks Vault what the token may do on the paths of the reads. Vault
// may refuse to say; a token with a limited number of uses is not asked for,
// since each question would cost it one.
func askPowers(ctx context.Context, s *session.Session, reads []*read) powers {
	token := s.Token()
	if slices.Contains(token.Policies, "root") {
		return powers{root: true}
	}
	var paths []string
	for _, r := range reads {
		if r.mount.Path != "" && r.mount.isKV() {
			paths = append(paths, r.mount.api(r.path))
		}
	}
	slices.Sort(paths)
	p := powers{write: make(map[string]bool)}
	for some := range slices.Chunk(slices.Compact(paths), mostPaths) {
		if token.UsesLeft > 0 {
			p.unknown = "whether the token may do more than read was not asked, for that would cost some of its uses; give it token_num_uses=0 to have it checked"
			break
		}
		if !p.ask(ctx, s, some) {
			p.unknown = "whether the token may do more than read is not known; let it update sys/capabilities-self to have it checked"
			break
		}
	}
	return p
}

func (p *powers) ask(ctx context.Context, s *session.Session, paths []string) (ok bool) {
	var data map[string][]string
	answer, err := s.Ask(ctx, "sys/capabilities-self", map[string][]string{"paths": paths}, &data)
	if err != nil || !answer.Ok() || answer.BadData {
		return false
	}
	for _, path := range paths {
		capabilities, ok := data[path]
		if !ok {
			return false
		}
		for _, capability := range capabilities {
			switch capability {
			case "root":
				p.root = true
			case "create", "update", "patch", "delete":
				p.write[path] = true
			}
		}
	}
	return true
}
