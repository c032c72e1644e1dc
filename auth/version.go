package auth

import (
	"runtime/debug"
	"slices"
	"strings"
)

// version is the version of this module in the agent's build, or devel.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "devel"
	}
	return versionIn(info)
}

func versionIn(build *debug.BuildInfo) string {
	const path = "github.com/luumen/patch-vault"
	for _, module := range append(slices.Clone(build.Deps), &build.Main) {
		if module.Path != path {
			continue
		}
		for module.Replace != nil {
			module = module.Replace
		}
		if version := strings.Trim(module.Version, "()"); version != "" {
			return version
		}
	}
	return "devel"
}
