#!/bin/sh
# Run once by the postgres image, on an empty volume: one user and one database each for Nightshift and for MLflow.
set -eu

make() { # make NAME PASSWORD; through the environment, where no list of processes shows it
  NAME=$1 PASSWORD=$2 psql --quiet --username "$POSTGRES_USER" --set ON_ERROR_STOP=1 <<'SQL'
\getenv name NAME
\getenv password PASSWORD
CREATE ROLE :"name" LOGIN PASSWORD :'password';
CREATE DATABASE :"name" OWNER :"name";
REVOKE CONNECT ON DATABASE :"name" FROM PUBLIC;
SQL
}

make nightshift "$STORE_PASSWORD"
make mlflow "$REGISTRY_PASSWORD"
