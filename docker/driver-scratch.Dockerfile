# A program that is built already, with its libraries and nothing else, for machines without an image registry.
# Built by `driver-image.sh`.
FROM scratch
COPY . /
USER 970:970
EXPOSE 9187
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/bin/lockkeeper"]
CMD ["drive"]
