# SPDX-License-Identifier: Apache-2.0
# make install, uninstall   with DESTDIR, PREFIX, UNITDIR
# make deb                  Debian package, in build/deb
# Man pages.

PREFIX ?= /usr
UNITDIR ?= $(PREFIX)/lib/systemd/system
DOCDIR ?= $(PREFIX)/share/doc/srtleak

VERSION := $(shell sed -n 's/.*SRTLEAK_VERSION "\(.*\)"/\1/p' include/version.h)

MAN := $(patsubst packaging/man/%.scd,$(TOP)/man/%,$(wildcard packaging/man/*.scd))

$(TOP)/man/%: packaging/man/%.scd | $(TOP)/man/
	$(call say,MAN,$@)scdoc < $< > $@

man: $(MAN)

# The unit names the daemon where it is installed to.
$(TOP)/systemd/srtleakd.service: packaging/systemd/srtleakd.service FORCE | $(TOP)/systemd/
	sed 's|/usr/sbin/srtleakd|$(PREFIX)/sbin/srtleakd|' $< > $@

# MODE:FILE:WHERE TO. What ends with a slash is a folder, which keeps the file's name.
section_of = $(subst .,,$(suffix $(1)))
INSTALLED := \
	755:$(B)/srtleakd:$(PREFIX)/sbin/ \
	755:$(B)/srtleakctl:$(PREFIX)/bin/ \
	644:$(TOP)/systemd/srtleakd.service:$(UNITDIR)/ \
	644:packaging/systemd/older-kernels.conf:$(DOCDIR)/examples/ \
	644:docs/troubleshooting.md:$(DOCDIR)/ \
	644:packaging/systemd/srtleak.sysusers:$(PREFIX)/lib/sysusers.d/srtleak.conf \
	644:packaging/systemd/srtleak.tmpfiles:$(PREFIX)/lib/tmpfiles.d/srtleak.conf \
	$(patsubst %,644:%:$(PREFIX)/share/srtleak/prometheus/,$(filter-out %/tests.yml,$(wildcard packaging/prometheus/*.yml))) \
	$(patsubst %,644:%:$(PREFIX)/share/srtleak/grafana/,$(wildcard packaging/grafana/*.json)) \
	$(patsubst %,644:%:$(PREFIX)/share/bash-completion/completions/, \
		$(wildcard packaging/completions/*)) \
	$(foreach page,$(MAN),644:$(page):$(PREFIX)/share/man/man$(call section_of,$(page))/)

CONFIGURATION := /etc/srtleak/srtleak.conf

part = $(word $(1),$(subst :, ,$(2)))
target_of = $(call part,3,$(1))$(if $(filter %/,$(call part,3,$(1))),$(notdir $(call part,2,$(1))))

define install_one
install -D -m $(call part,1,$(1)) $(call part,2,$(1)) '$(DESTDIR)$(call target_of,$(1))'

endef

# An administrator's configuration stays, also after an uninstall.
install: all man $(TOP)/systemd/srtleakd.service
	$(foreach entry,$(INSTALLED),$(call install_one,$(entry)))
	test -e '$(DESTDIR)$(CONFIGURATION)' || \
		install -D -m 644 packaging/srtleak.conf '$(DESTDIR)$(CONFIGURATION)'
	$(if $(DESTDIR),,@echo 'To start it: systemd-sysusers && systemctl daemon-reload && systemctl enable --now srtleakd')

uninstall:
	rm -f $(foreach entry,$(INSTALLED),'$(DESTDIR)$(call target_of,$(entry))')

# The sources as they lie here, with debian/ where the tools expect it.
DEB_STAGE := $(TOP)/deb/srtleak-$(VERSION)
DEB_SOURCES := Makefile LICENSE README.md bpf cli daemon docs include packaging tests

deb: deps
	rm -rf $(TOP)/deb && mkdir -p $(DEB_STAGE)
	tar -c --exclude=__pycache__ $(DEB_SOURCES) | tar -x -C $(DEB_STAGE)
	cp -r packaging/debian $(DEB_STAGE)/debian
	test "$$(dpkg-parsechangelog -l packaging/debian/changelog -S Version)" = $(VERSION) || \
		{ echo 'packaging/debian/changelog: its first entry is not of version $(VERSION)' >&2; false; }
	cd $(DEB_STAGE) && env -u MAKEFLAGS -u MAKELEVEL -u MFLAGS dpkg-buildpackage -us -uc -b \
		$(if $(V),,> ../build.log 2>&1) || { tail -n 30 ../build.log >&2; false; }
	ls $(TOP)/deb/*.deb

.PHONY: man install uninstall deb
