# MySQL from Debian's packages, with an initialised data folder and nothing else: no shell, no package manager.
# Built by `debian-mysql.sh image TAG`, for machines that reach a Debian mirror but no image registry.
#
# root@localhost has no password and nobody else may connect: give it an --init-file that changes both.
FROM scratch
COPY --chown=999:999 . /
ENV LD_LIBRARY_PATH=/usr/lib/mysql/private
USER 999:999
EXPOSE 3306
VOLUME /var/lib/mysql
ENTRYPOINT ["/usr/sbin/mysqld", "--no-defaults", "--bind-address=0.0.0.0", "--socket=/tmp/mysql.sock"]
