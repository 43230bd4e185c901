# docker build -t culvert .
# docker run --network host --cap-drop ALL --cap-add NET_ADMIN --cap-add NET_RAW --cap-add NET_BIND_SERVICE \
#   --device /dev/net/tun -v /etc/culvert:/etc/culvert:ro -v culvert-state:/var/lib/culvert culvert

FROM node:20-bookworm-slim AS build
# intel-ipsec-mb exists for x86-64 only; elsewhere the portable backend does the work.
RUN apt-get update \
  && apt-get install --yes --no-install-recommends \
    cmake g++ make libmnl-dev nettle-dev \
    $(test "$(dpkg --print-architecture)" != amd64 || echo libipsec-mb-dev) \
  && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/culvert
COPY package.json package-lock.json .npmrc ./
RUN npm ci --ignore-scripts
COPY CMakeLists.txt binding.gyp ./
COPY native ./native
RUN npm run build:native
COPY tsconfig.json tsconfig.build.json ./
COPY src ./src
RUN npm run build:ts && npm prune --omit=dev --ignore-scripts

FROM node:20-bookworm-slim
RUN apt-get update \
  && apt-get install --yes --no-install-recommends \
    libhogweed6 libmnl0 libnettle8 \
    $(test "$(dpkg --print-architecture)" != amd64 || echo libipsec-mb1) \
  && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/culvert
COPY --from=build /opt/culvert/package.json ./
COPY --from=build /opt/culvert/node_modules ./node_modules
COPY --from=build /opt/culvert/build/addon/Release/culvert.node ./build/addon/Release/culvert.node
COPY --from=build /opt/culvert/dist ./dist
RUN ln -s /opt/culvert/dist/src/cli/main.js /usr/local/bin/culvert \
  && ln -s /opt/culvert/dist/src/daemon/main.js /usr/local/bin/culvertd \
  && chmod +x dist/src/cli/main.js dist/src/daemon/main.js
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s CMD ["culvert", "counters"]
ENTRYPOINT ["culvertd"]
