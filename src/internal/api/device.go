package api

import (
	"net/http"
	"runtime"

	"github.com/gin-gonic/gin"

	"github.com/meta-gin-edge/meta-gin-edge/src/edge"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/device"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/log"
)

type deviceBody struct {
	ID       string        `json:"id"`
	Hostname string        `json:"hostname"`
	Model    string        `json:"model"`
	Arch     string        `json:"arch"`
	Kernel   string        `json:"kernel"`
	OS       device.OS     `json:"os"`
	Service  deviceService `json:"service"`
}

type deviceService struct {
	Name      string `json:"name"`
	Version   string `json:"version"`
	GoVersion string `json:"go_version"`
}

type deviceResource struct {
	log     *log.Log
	device  *device.Reader
	product edge.Product
}

func (d deviceResource) routes() []edge.Route {
	return []edge.Route{{Method: http.MethodGet, Path: "/api/v1/device", Role: edge.Anyone, Handle: func(c *gin.Context) {
		if !noQuery(c) {
			return
		}
		info, err := d.device.Info()
		if err != nil {
			entry(d.log, c).WithError(err).Debug("the host name cannot be read")
		}
		c.JSON(http.StatusOK, deviceBody{
			ID:       info.ID,
			Hostname: info.Hostname,
			Model:    info.Model,
			Arch:     info.Arch,
			Kernel:   info.Kernel,
			OS:       info.OS,
			Service:  deviceService{Name: d.product.Name, Version: d.product.Version, GoVersion: runtime.Version()},
		})
	}}}
}
