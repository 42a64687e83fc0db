package product

import (
	"io"
	"testing"

	"github.com/meta-gin-edge/meta-gin-edge/src/edge/edgetest"
)

// What every extension has to keep: package edgetest says what that is.
func TestContract(t *testing.T) { edgetest.Run(t, Extension) }

func TestHello(t *testing.T) {
	s := edgetest.Start(t, "[x.@NAME@]\ngreeting = \"good day\"\n", Extension())
	response, err := s.Client.Get(s.URL + "/api/v1/x/@NAME@/hello")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || string(body) != `{"greeting":"good day"}` {
		t.Errorf("%d %s (%v)", response.StatusCode, body, err)
	}
}
