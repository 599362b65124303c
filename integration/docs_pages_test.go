package integration_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-sockopt/caddy-sockopt"
)

// maxREADMELines keeps the first page short; the rest is in docs/.
const maxREADMELines = 200

func TestREADMEIsShort(t *testing.T) {
	text := readPage(t, "README.md")
	require.LessOrEqual(t, strings.Count(text, "\n"), maxREADMELines)
}

var docBlock = regexp.MustCompile("(?ims)(?:(in a site block|inside `[a-z_]+`):\n\n)?^```caddyfile\n(.*?)^```$")

// docPlaces are the ends of the lines before a fragment, which say where it goes, with
// what makes it complete.
var docPlaces = map[string][2]string{
	"":                              {"", ""},
	"in a site block":               {"example.com {\n", "}\n"},
	"inside `reverse_proxy`":        {"example.com {\nreverse_proxy 127.0.0.1:8092 {\n", "}\n}\n"},
	"inside `listener_wrappers`":    {"{\nservers {\nlistener_wrappers {\n", "}\n}\n}\nexample.com\n"},
	"inside `packet_conn_wrappers`": {"{\nservers {\npacket_conn_wrappers {\n", "}\n}\n}\nexample.com\n"},
	"inside `sockopt`":              {"{\nservers {\nlistener_wrappers {\nsockopt {\n", "}\n}\n}\n}\nexample.com\n"},
}

// TestDocsCaddyfiles adapts every Caddyfile on a page.
func TestDocsCaddyfiles(t *testing.T) {
	var blocks int
	for _, page := range pages(t) {
		for _, block := range docBlock.FindAllStringSubmatch(readPage(t, page), -1) {
			blocks++
			place, text := strings.ToLower(block[1]), block[2]
			t.Run(page, func(t *testing.T) {
				require.Equal(t, text, string(caddyfile.Format([]byte(text))), "caddy fmt would change it")
				around, ok := docPlaces[place]
				require.True(t, ok, "the test does not know where %q is", place)
				_, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(around[0]+text+around[1]), nil)
				require.NoError(t, err, text)
				for _, warning := range warnings {
					require.Contains(t, warning.Message, "not formatted", text)
				}
			})
		}
	}
	require.NotZero(t, blocks)
}

var docJSON = regexp.MustCompile("(?ms)^```json\n(.*?)^```$")

// TestDocsJSON provisions every JSON on a page: a configuration, a route or a handler.
func TestDocsJSON(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("its options need Linux")
	}
	const server = `{"apps": {"http": {"servers": {"srv0": {"listen": [":443"], "routes": [%s]}}}}}`
	for _, page := range pages(t) {
		for _, block := range docJSON.FindAllStringSubmatch(readPage(t, page), -1) {
			text := block[1]
			var keys map[string]json.RawMessage
			require.NoError(t, json.Unmarshal([]byte(text), &keys), text)
			switch {
			case keys["handler"] != nil:
				text = fmt.Sprintf(server, `{"handle": [`+text+`]}`)
			case keys["handle"] != nil:
				text = fmt.Sprintf(server, text)
			}
			var c caddy.Config
			require.NoError(t, caddy.StrictUnmarshalJSON([]byte(text), &c), page)
			require.NoError(t, caddy.Validate(&c), page)
		}
	}
}

var (
	docFence   = regexp.MustCompile("(?ms)^```.*?^```$")
	docCode    = regexp.MustCompile("`[^`\n]*`")
	docLink    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	docHeading = regexp.MustCompile(`(?m)^#+ +(.*)$`)
)

// TestDocsLinks follows every relative link: its file and its heading exist.
func TestDocsLinks(t *testing.T) {
	for _, page := range pages(t) {
		t.Run(page, func(t *testing.T) {
			text := docCode.ReplaceAllString(docFence.ReplaceAllString(readPage(t, page), ""), "code")
			var broken []string
			for _, link := range docLink.FindAllStringSubmatch(text, -1) {
				file, anchor, _ := strings.Cut(link[1], "#")
				target := page
				switch {
				case strings.Contains(link[1], "://"):
					continue
				case file != "":
					target = path.Join(path.Dir(page), file)
				}
				if _, err := fs.Stat(checkout, target); err != nil {
					broken = append(broken, link[1])
				} else if anchor != "" && !slices.Contains(anchors(readPage(t, target)), anchor) {
					broken = append(broken, link[1])
				}
			}
			require.Empty(t, broken, "no such file or heading")
		})
	}
}

// anchors are the fragments by which the headings of a page are linked.
func anchors(text string) []string {
	var found []string
	for _, heading := range docHeading.FindAllStringSubmatch(docFence.ReplaceAllString(text, ""), -1) {
		found = append(found, strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, heading[1]))
	}
	return found
}
