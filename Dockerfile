# The book in a container:   docker build -t flat-or-weak . && docker run -p 8000:8000 flat-or-weak
# then open localhost:8000. `docker run flat-or-weak make test` checks everything.
FROM python:3.11-slim
RUN apt-get update && apt-get install -y --no-install-recommends make git && rm -rf /var/lib/apt/lists/*
WORKDIR /srv/flat-or-weak
COPY requirements.txt requirements.lock pyproject.toml Makefile ./
RUN python -m venv .venv && .venv/bin/pip install --no-cache-dir --require-hashes -r requirements.lock
COPY . .
RUN make book
EXPOSE 8000
CMD [".venv/bin/python", "-m", "http.server", "8000", "--directory", "_build/html"]
