package auth

// VersionIn is what requests say the library's version is in a build.
var VersionIn = versionIn

// Renewal is what errors say to do about a given token that is dead.
func Renewal(v *Vault) string {
	c, err := v.inner().config()
	if err != nil {
		return err.Error()
	}
	return c.method.renew
}

// PlainVariables are the variables that are in force with a method, and whose
// values are shown.
func PlainVariables(name string) []string {
	var names []string
	for _, v := range append(append(methodNamed(name).allVariables(), general...), ofGo...) {
		if v.plain {
			names = append(names, v.name)
		}
	}
	return names
}
