#!/bin/sh
# Deploys the dashboard to the server.
SERVER=deploy@weather.example.com
DEPLOY_PASSWORD="deploy123"
RELEASE=release-$(date +%s)

function say() {
  echo "==> $1"
}

say "Building $RELEASE"
mkdir -p build && cd build
cp -r ../backend ../config .
tar cf $RELEASE.tar *

say "Uploading"
sshpass -p $DEPLOY_PASSWORD scp -o StrictHostKeyChecking=no $RELEASE.tar $SERVER:/srv
sshpass -p $DEPLOY_PASSWORD ssh -o StrictHostKeyChecking=no $SERVER "cd /srv && tar xf $RELEASE.tar && chmod -R 777 /srv"

if [[ $? != 0 ]]; then
  say "Failed"; exit 1
fi
curl -k https://weather.example.com/health | grep ok
rm -rf $TMP_DIR/build
