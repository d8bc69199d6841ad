# Not executed by the project's tests: see the README. Build: docker build -t tol .
FROM rust:1.95-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends build-essential cmake pkg-config clang libclang-dev mold zlib1g-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# The target folder is a cache: RocksDB's C++ is compiled once, not once an image.
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/target \
    CARGO_TARGET_DIR=/target scripts/build && install -m 755 bin/tol /usr/local/bin/tol

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates curl libstdc++6 zlib1g && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /var/lib/tol --create-home tol
COPY --from=build /usr/local/bin/tol /usr/local/bin/tol
USER tol
WORKDIR /var/lib/tol
VOLUME /var/lib/tol
EXPOSE 7700
# Long enough for what is being decided to be committed.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s CMD curl -fsS http://127.0.0.1:7700/readyz > /dev/null
ENTRYPOINT ["tol"]
# Beyond loopback a node wants an API key: mount a configuration that has one and add `--config FILE`.
CMD ["run", "--data", "/var/lib/tol", "--listen", "0.0.0.0:7700"]
