# The lockkeeper program alone: a driver by default, every other command as an argument.
#
#   docker build --file docker/driver.Dockerfile --build-arg LOCKKEEPER_COMMIT=$(git rev-parse --short=12 HEAD) --tag lockkeeper .
#
# With `docker run --init`: process 1 of a container is ended by no signal that it doesn't listen for, and only some commands listen.
FROM rust:1.94-slim-bookworm AS build
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY . .
# The context has no .git; `lockkeeper --version` tells this.
ARG LOCKKEEPER_COMMIT
RUN cargo build --release --locked

FROM debian:bookworm-slim
RUN useradd --system --uid 970 --no-create-home lockkeeper
COPY --from=build /build/target/release/lockkeeper /usr/bin/lockkeeper
USER 970:970
EXPOSE 9187
# SIGTERM: every operation writes its checkpoint and gives its lease back.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/bin/lockkeeper"]
CMD ["drive"]
