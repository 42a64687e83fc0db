package api

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/meta-gin-edge/meta-gin-edge/src/edge/web"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/device"
)

// hosts keeps the pages of others out of the API. A page in the browser of
// somebody in the same network can have the name of its own site point to this
// device (DNS rebinding) and then read what it likes: to the browser it is one
// origin. So the API answers to the names of the device alone.
type hosts struct {
	device *device.Reader
	names  []string // of the configuration; lower case
	cross  *http.CrossOriginProtection
}

func newHosts(reader *device.Reader, names []string) *hosts {
	return &hosts{device: reader, names: names, cross: http.NewCrossOriginProtection()}
}

// check is for every path but the two of health: load balancers ask those under
// whatever name they like, and the answer tells nothing.
func (h *hosts) check(c *gin.Context) {
	r := c.Request
	if path := r.URL.Path; path == pathLive || path == pathReady {
		return
	}
	if !h.known(r.Host) {
		noBody(c) // nobody waits for that of a request that is refused
		// Of the request, not of the connection: another name may come next.
		web.Problem(c, http.StatusMisdirectedRequest,
			fmt.Sprintf("%s is not a name of this device; add it to access.hosts of the configuration, or use an address", short(r.Host)))
		return
	}
	if err := h.foreign(r); err != nil {
		noBody(c)
		web.Problem(c, http.StatusForbidden, err.Error())
	}
}

// known says whether a Host is one of this device: any IP address, as no name
// leads to it, localhost, the host name as such and with .local (RFC 6762), and
// the configured ones. The port may be that of a tunnel or a proxy.
func (h *hosts) known(host string) bool {
	name := host
	if n, port, err := net.SplitHostPort(host); err == nil {
		if strings.Trim(port, "0123456789") != "" {
			return false
		}
		name = n
	} else if n, ok := strings.CutPrefix(host, "["); ok {
		if name, ok = strings.CutSuffix(n, "]"); !ok {
			return false
		}
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return true
	}
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if name == "localhost" || slices.Contains(h.names, name) {
		return true
	}
	info, _ := h.device.Info() // "" when it cannot be read
	own := strings.ToLower(info.Hostname)
	first, _, _ := strings.Cut(own, ".")
	return name != "" && own != "" && (name == own || name == first || name == first+".local")
}

// foreign refuses what a page of another site has a browser send. Unsafe methods
// are CrossOriginProtection's. It lets GET through, as the page cannot read the
// answer; but it can make the device work, and hold the places of streams. A link
// that somebody follows is no such request.
func (h *hosts) foreign(r *http.Request) error {
	err := h.cross.Check(r)
	site := r.Header.Get("Sec-Fetch-Site") // browsers send it where the connection is encrypted, or to localhost
	if err == nil && site == "cross-site" && r.Header.Get("Sec-Fetch-Mode") != "navigate" {
		err = errors.New("its Sec-Fetch-Site is cross-site")
	}
	if origin := r.Header.Get("Origin"); err == nil && origin != "" && site != "same-origin" {
		if u, parseErr := url.Parse(origin); parseErr != nil || u.Host != r.Host {
			err = fmt.Errorf("its Origin is %s, Host %s", short(origin), short(r.Host))
		}
	}
	if err != nil {
		return fmt.Errorf("a page of another site asks: %w", err)
	}
	return nil
}
