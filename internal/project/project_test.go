// Package project_test checks that the README and other files agree with the code.
package project_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/internal/fault"
)

const root = "../.."

func read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, name))
	require.NoError(t, err)
	return string(data)
}

// testFiles returns the texts of all test files, by path.
func testFiles(t *testing.T) map[string]string {
	t.Helper()
	texts := make(map[string]string)
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, "_test.go") {
			data, err := os.ReadFile(path)
			texts[path] = string(data)
			return err
		}
		return err
	})
	require.NoError(t, err)
	require.NotEmpty(t, texts)
	return texts
}

func TestTopLevelIsAsTheOwnerAsked(t *testing.T) {
	t.Parallel()
	entries, err := os.ReadDir(root)
	require.NoError(t, err)
	var names []string
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), ".") {
			names = append(names, entry.Name())
		}
	}
	assert.ElementsMatch(t, []string{"Makefile", "README.md", "auth", "go.mod", "go.sum", "internal", "ref", "resolver", "testdata"}, names)
}

// Some test runs every block of the README: Go here, shell and systemd in package auth.
// YAML is for kubectl, and the diagram has no language.
func TestREADMEsBlocksAreOfKnownKinds(t *testing.T) {
	t.Parallel()
	fences := regexp.MustCompile("(?m)^```(.*)$").FindAllStringSubmatch(read(t, "README.md"), -1)
	require.NotEmpty(t, fences)
	for i := 0; i < len(fences); i += 2 {
		assert.Contains(t, []string{"go", "sh", "ini", "yaml", ""}, fences[i][1])
	}
}

// Every block of Go in the README is part of an example that the tests run.
func TestREADMEsCodeIsTested(t *testing.T) {
	t.Parallel()
	blocks := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(read(t, "README.md"), -1)
	require.NotEmpty(t, blocks)
	var examples strings.Builder
	for _, text := range testFiles(t) {
		for _, function := range regexp.MustCompile(`(?ms)^func Example.*?^}`).FindAllString(text, -1) {
			examples.WriteString(unindented(function))
		}
	}
	for _, block := range blocks {
		assert.Contains(t, examples.String(), unindented(block[1]))
	}
}

func unindented(code string) string {
	lines := strings.Split(code, "\n")
	for i, line := range lines {
		lines[i] = strings.TrimSpace(line)
	}
	return strings.Join(lines, "\n")
}

// CI runs every command of the README.
func TestREADMEsCommandsAreRunByCI(t *testing.T) {
	t.Parallel()
	commands := regexp.MustCompile(`(?m)^    make (\w+)`).FindAllStringSubmatch(read(t, "README.md"), -1)
	require.NotEmpty(t, commands)
	for _, command := range commands {
		assert.Regexp(t, `(?m)^make `+command[1]+`$`, read(t, ".ci/run"))
	}
	for _, target := range regexp.MustCompile(`(?m)^make (\w+)$`).FindAllStringSubmatch(read(t, ".ci/run"), -1) {
		assert.Regexp(t, `(?m)^`+target[1]+`:`, read(t, "Makefile"))
	}
}

// The README explains every kind of error, and no others.
func TestREADMEExplainsEveryKind(t *testing.T) {
	t.Parallel()
	var kinds []string
	for _, kind := range fault.Kinds() {
		kinds = append(kinds, string(kind))
	}
	_, table, ok := strings.Cut(read(t, "README.md"), "| kind | when | do |")
	require.True(t, ok)
	table, _, _ = strings.Cut(table, "\n\n")
	var explained []string
	for row := range strings.SplitSeq(table, "\n") {
		first, _, _ := strings.Cut(strings.TrimPrefix(row, "|"), "|")
		explained = append(explained, submatches("`(\\w+)`", first)...)
	}
	assert.ElementsMatch(t, kinds, explained)
}

// The library writes no file and starts no process, with what it imports of its own.
func TestLibraryWritesNoFileAndStartsNoProcess(t *testing.T) {
	t.Parallel()
	const module = "github.com/luumen/patch-vault/"
	unseen, seen := []string{"resolver"}, map[string]bool{}
	for len(unseen) > 0 {
		folder := unseen[0]
		unseen = unseen[1:]
		if seen[folder] {
			continue
		}
		seen[folder] = true
		names, err := filepath.Glob(filepath.Join(root, folder, "*.go")) // for every system
		require.NoError(t, err)
		require.NotEmpty(t, names, folder)
		for _, name := range names {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
			require.NoError(t, err)
			for _, imported := range file.Imports {
				path := strings.Trim(imported.Path.Value, `"`)
				assert.NotContains(t, []string{"os/exec", "io/ioutil"}, path, name)
				assert.False(t, path == "os" && imported.Name != nil, "%s: os has another name", name)
				if own, ok := strings.CutPrefix(path, module); ok {
					unseen = append(unseen, own)
				}
			}
			ast.Inspect(file, func(node ast.Node) bool {
				selector, ok := node.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				if of, ok := selector.X.(*ast.Ident); ok && slices.Contains([]string{"os", "syscall"}, of.Name) {
					assert.Regexp(t, harmless, of.Name+"."+selector.Sel.Name, name)
				}
				return true
			})
		}
	}
	for _, folder := range []string{"auth", "ref", "internal/fault", "internal/mask", "internal/patience", "internal/reply", "internal/transport"} {
		assert.True(t, seen[folder], folder)
	}
}

// harmless is what the library may use of packages os and syscall: nothing that opens a file
// to write it, and nothing that changes a folder or starts a process.
var harmless = regexp.MustCompile(`^(os\.(DirEntry|File|Getenv|ModeSymlink|Open|OpenFile|O_RDONLY|ReadDir|ReadFile|Readlink|Stat)|syscall\.(E[A-Z]+|Errno|O_NOCTTY|O_NONBLOCK))$`)

func submatches(expression, text string) []string {
	var all []string
	for _, match := range regexp.MustCompile(expression).FindAllStringSubmatch(text, -1) {
		all = append(all, match[1])
	}
	return slices.Compact(all)
}
