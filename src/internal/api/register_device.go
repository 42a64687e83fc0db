package api

import (
	"net/http"
	"runtime"

	"github.com/gin-gonic/gin"

	"github.com/meta-gin-edge/meta-gin-edge/src/internal/device"
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

func (a *api) registerDevice(engine *gin.Engine) {
	get(engine, "/api/v1/device", func(c *gin.Context) {
		info, err := a.Device.Info()
		if err != nil {
			a.entry(c).WithError(err).Debug("the host name cannot be read")
		}
		c.JSON(http.StatusOK, deviceBody{
			ID:       info.ID,
			Hostname: info.Hostname,
			Model:    info.Model,
			Arch:     info.Arch,
			Kernel:   info.Kernel,
			OS:       info.OS,
			Service:  deviceService{Name: "gin-edged", Version: a.Version, GoVersion: runtime.Version()},
		})
	})
}
