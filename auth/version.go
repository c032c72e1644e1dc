package auth

import (
	"cmp"
	"runtime/debug"
	"slices"
	"strings"
)

// version is the version of this module in the agent's build, or devel.
func version() string {
	if build, ok := debug.ReadBuildInfo(); ok {
		return versionIn(build)
	}
	return "devel"
}

func versionIn(build *debug.BuildInfo) string {
	for _, module := range append(slices.Clone(build.Deps), &build.Main) {
		if module.Path == "github.com/luumen/patch-vault" {
			module = cmp.Or(module.Replace, module)
			return cmp.Or(strings.Trim(module.Version, "()"), "devel")
		}
	}
	return "devel"
}
