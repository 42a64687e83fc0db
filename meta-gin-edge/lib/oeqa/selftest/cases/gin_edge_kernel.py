#
# Copyright meta-gin-edge maintainers
#
# SPDX-License-Identifier: MIT
#
"""The class gin-edge-kernel on the build's own kernel: oe-selftest -r gin_edge_kernel

Each test plants a fault in a fragment and wants do_gin_edge_kernel_check to name it. The kernel is configured, never
compiled: minutes each.
"""

import os
import re

from oeqa.selftest.case import OESelftestTestCase
from oeqa.utils.commands import bitbake, get_bb_var

CHECK = '-c gin_edge_kernel_check virtual/kernel'


class GinEdgeKernelTest(OESelftestTestCase):

    def setUp(self):
        super().setUp()
        # Whatever the build has chosen: the tests need the parts that they speak of.
        self.config = 'DISTRO_FEATURES:append = " gin-edge"\nGIN_EDGE_PARTS = "gin-edge-firewall gin-edge-watchdog"\n'
        self.write_config(self.config)
        self.kernel = get_bb_var('PREFERRED_PROVIDER_virtual/kernel')

    def plant(self, settings, more=''):
        """Hands a fragment with these lines over, last of all."""
        folder = os.path.join(self.builddir, 'gin-edge-selftest')
        kmeta = os.path.join(folder, 'selftest-kmeta')
        os.makedirs(kmeta, exist_ok=True)
        self.track_for_cleanup(folder)
        with open(os.path.join(kmeta, 'selftest.cfg'), 'w') as fragment:
            fragment.write(settings)
        with open(os.path.join(kmeta, 'selftest.scc'), 'w') as feature:
            feature.write('kconf non-hardware selftest.cfg\n')
        self.write_config(self.config + '''
FILESEXTRAPATHS:prepend:pn-%s = "%s:"
GIN_EDGE_KERNEL_KMETA:append = " selftest-kmeta"
GIN_EDGE_KERNEL_FRAGMENTS:append = " selftest"
%s''' % (self.kernel, folder, more))

    def lose(self, *says):
        result = bitbake(CHECK, ignore_status=True)
        self.assertNotEqual(result.status, 0, 'the check passed with a fault in the configuration:\n%s' % result.output)
        for text in says:
            self.assertIn(text, result.output)

    def test_passes(self):
        result = bitbake(CHECK)
        self.assertNotIn('is not what', result.output)

    def test_lost_symbol(self):
        self.plant('# CONFIG_SECCOMP is not set\n')
        self.lose('gin-edge-sandbox.cfg', 'SECCOMP_FILTER=y asked for, n got', 'GIN_EDGE_KERNEL_EXEMPT')

    def test_exempt_symbol(self):
        self.plant('# CONFIG_SECCOMP is not set\n', 'GIN_EDGE_KERNEL_EXEMPT = "CONFIG_SECCOMP_FILTER"\n')
        bitbake(CHECK)

    def test_module_where_it_must_be_built_in(self):
        self.plant('CONFIG_NF_CONNTRACK=m\nCONFIG_NETFILTER_XT_MATCH_CONNTRACK=y\n',
                   'GIN_EDGE_KERNEL_BUILTIN:append = " selftest"\n')
        self.lose('selftest.cfg', 'NETFILTER_XT_MATCH_CONNTRACK=y asked for, m got (it must be built in)')

    def test_a_part_takes_its_fragment_along(self):
        self.write_config(self.config.replace('gin-edge-firewall ', ''))
        self.assertNotIn('gin-edge-firewall', get_bb_var('GIN_EDGE_KERNEL_FRAGMENTS', 'virtual/kernel'))

    def test_fragments_come_last(self):
        features = get_bb_var('KERNEL_FEATURES', 'virtual/kernel').split()
        first = next(n for n, feature in enumerate(features) if feature.startswith('gin-edge-'))
        self.assertEqual([f for f in features[first:] if not f.startswith('gin-edge-')], [])

    def test_nothing_without_the_distro_feature(self):
        self.write_config('DISTRO_FEATURES:remove = "gin-edge"\n')
        for variable in ('SRC_URI', 'KERNEL_FEATURES'):
            self.assertNotIn('gin-edge', get_bb_var(variable, 'virtual/kernel') or '')

    def test_warns_of_a_kernel_without_the_class(self):
        self.write_config(self.config + 'BBMASK += "/recipes-kernel/linux/.*[.]bbappend"\n')
        result = bitbake('-p')
        self.assertTrue(re.search(r'WARNING:.*%s: the distro feature gin-edge is on' % re.escape(self.kernel), result.output),
                        result.output)
