#
# Copyright meta-gin-edge maintainers
#
# SPDX-License-Identifier: MIT
#
"""What a device with gin-edge promises, for testimage: TEST_SUITES:append = " gin_edged".

The tests run commands on the target, so the image needs a way in for testimage (an SSH server
and, with gin-edge-firewall, a declaration that opens its port).
"""

import json
import time

from oeqa.core.decorator.data import skipIfNotFeature
from oeqa.core.decorator.depends import OETestDepends
from oeqa.runtime.case import OERuntimeTestCase
from oeqa.runtime.decorator.package import OEHasPackage


class GinEdgeTest(OERuntimeTestCase):

    @classmethod
    def setUpClass(cls):
        # What the product chose; conf/layer.conf has the defaults.
        cls.unit, cls.port = cls.td['GIN_EDGE_UNIT'], cls.td['GIN_EDGE_PORT']

    def run_ok(self, command):
        status, output = self.target.run(command)
        self.assertEqual(status, 0, '%s: %s' % (command, output))
        return output

    def show(self, prop, unit=None):
        return self.run_ok('systemctl show -P %s %s' % (prop, unit or self.unit)).strip()

    def get(self, path):
        """The JSON that the service answers, asked from the device itself."""
        return json.loads(self.run_ok('wget -q -O - http://127.0.0.1:%s%s' % (self.port, path)))

    @skipIfNotFeature('systemd', 'gin-edge needs systemd')
    @OEHasPackage(['gin-edge'])
    @OETestDepends(['ssh.SSHTest.test_ssh'])
    def test_unit_is_active(self):
        self.assertEqual(self.show('ActiveState'), 'active')
        self.assertEqual(self.show('Type'), 'notify-reload')

    @OETestDepends(['gin_edged.GinEdgeTest.test_unit_is_active'])
    def test_answers(self):
        self.assertEqual(self.get('/livez')['status'], 'ok')

    @OETestDepends(['gin_edged.GinEdgeTest.test_answers'])
    def test_version(self):
        """The binary, the package and the API name the same version."""
        version = self.get('/api/v1/device')['service']['version']
        self.assertIn('gin-edged %s ' % version, self.run_ok('gin-edged -version'))
        # PV of the recipe, where the manifest of the image has it.
        manifest = self.td.get('DEPLOY_DIR_IMAGE', '') + '/' + self.td.get('IMAGE_LINK_NAME', '') + '.manifest'
        with open(manifest) as f:
            versions = [line.split()[2] for line in f if line.split()[0] == 'gin-edge']
        self.assertEqual([v.split('-r')[0] for v in versions], [version])

    @OETestDepends(['gin_edged.GinEdgeTest.test_unit_is_active'])
    def test_root_is_read_only(self):
        if 'read-only-rootfs' not in self.td.get('IMAGE_FEATURES', '').split():
            self.skipTest('the image does not have the feature read-only-rootfs')
        status, _ = self.target.run('touch /etc/gin-edge-test')
        self.assertNotEqual(status, 0, 'the root can be written to')
        self.assertRegex(self.run_ok("awk '$2 == \"/\" { print $4 }' /proc/mounts"), r'(^|,|\n)ro(,|$)')

    @OETestDepends(['gin_edged.GinEdgeTest.test_answers'])
    def test_sandbox(self):
        """The kernel has the limits that the unit declares: systemd leaves out what it cannot enforce."""
        status = dict(line.split(':', 1) for line in
                      self.run_ok('cat /proc/%s/status' % self.show('MainPID')).splitlines() if ':' in line)
        if 'seccomp' in self.td.get('DISTRO_FEATURES', '').split():
            self.assertEqual(status['Seccomp'].strip(), '2', 'no filter of system calls')
        self.assertEqual(status['NoNewPrivs'].strip(), '1')
        for name in ('CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'):
            self.assertEqual(int(status[name], 16), 0, name)
        group = '/sys/fs/cgroup' + self.show('ControlGroup')
        self.assertEqual(self.run_ok('cat %s/memory.max' % group).strip(), self.show('MemoryMax'))
        self.assertEqual(self.get('/api/v1/system/status')['sandbox']['missing'], [])

    @OETestDepends(['gin_edged.GinEdgeTest.test_unit_is_active'])
    def test_number_of_the_user(self):
        """The same in every image, or an update leaves the files on the data partition to somebody else."""
        for option in ('-u', '-g'):
            self.assertEqual(self.run_ok('id %s gin-edge' % option).strip(), self.td['GIN_EDGE_UID'])

    @OETestDepends(['gin_edged.GinEdgeTest.test_unit_is_active'])
    def test_boot_ends(self):
        """No job of the boot is left, and none waited in vain, for a console that is not there for one."""
        self.target.run('systemctl is-system-running --wait')
        self.assertEqual(self.run_ok('systemctl list-jobs --no-legend --no-pager').strip(), '')
        self.assertEqual(self.run_ok('journalctl -b -q --no-pager -o cat JOB_RESULT=timeout JOB_RESULT=dependency').strip(), '')

    @OEHasPackage(['gin-edge-journal'])
    @OETestDepends(['gin_edged.GinEdgeTest.test_unit_is_active'])
    def test_log_is_bounded(self):
        """The journal stays below what its profile allows, however much is logged."""
        self.run_ok('for i in $(seq 200); do head -c 40000 /dev/zero | tr "\\0" x | fold -w 400; done | systemd-cat -t gin-edge-test')
        self.run_ok('journalctl --flush')
        used = self.run_ok('du -sk /run/log/journal /var/log/journal 2>/dev/null || true')
        kib = sum(int(line.split()[0]) for line in used.splitlines())
        # RuntimeMaxUse=8M and SystemMaxUse=16M, and a file each that is being written.
        self.assertLess(kib, (8 + 16 + 4) * 1024, used)

    @OEHasPackage(['gin-edge-firewall'])
    @OETestDepends(['gin_edged.GinEdgeTest.test_unit_is_active'])
    def test_firewall_is_in_force(self):
        self.assertEqual(self.show('ActiveState', 'gin-edge-firewall.service'), 'active')
        for tool in ('iptables', 'ip6tables'):
            rules = self.run_ok(tool + ' -S')
            self.assertIn('-P INPUT DROP', rules)
            self.assertIn('-A INPUT -j GIN-EDGE-INPUT\n', rules + '\n')
            self.assertIn('--dport %s ' % self.port, rules)

    @OETestDepends(['gin_edged.GinEdgeTest.test_answers'])
    def test_watchdog_restarts(self):
        """A service that hangs is replaced; the journal has the reason."""
        pid = self.show('MainPID')
        self.run_ok('kill -STOP %s' % pid)
        deadline = time.monotonic() + 120
        while self.show('MainPID') in (pid, '0'):
            self.assertLess(time.monotonic(), deadline, 'the watchdog did not bite')
            time.sleep(1)
        self.assertEqual(self.get('/livez')['status'], 'ok')
        self.assertIn("Failed with result 'watchdog'", self.run_ok('journalctl -b -q --no-pager -u %s' % self.unit))
