# syntax=docker/dockerfile:1
# The bank example on Millrace. An application of your own: install the package (`npm pack` here), compile, and the same ENTRYPOINT.
FROM node:22-bookworm-slim AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
COPY scripts/setup.mjs scripts/
# The same install as `npm start`: it also gets binaries of this platform that the lock file lacks.
RUN node --input-type=module -e "import { setUp } from './scripts/setup.mjs'; setUp()"
COPY . .
RUN npm run build && npx tsc -p examples/tsconfig.build.json
RUN npm prune --omit=dev

FROM node:22-bookworm-slim
ENV NODE_ENV=production
WORKDIR /app
COPY --from=build /app/package.json ./
COPY --from=build /app/node_modules node_modules
COPY --from=build /app/bin bin
COPY --from=build /app/dist dist
COPY --from=build /app/examples/dist examples/dist
USER node
EXPOSE 4000
ENTRYPOINT ["node", "bin/millrace.js"]
CMD ["start", "--role", "all", "--app", "examples/dist/bank/app.js"]
