#!/bin/bash
# Backs up the upload folder and keeps the last N archives.
BACKUP_DIR=$1
KEEP=${2:-5}
UPLOADS=/tmp/uploads
UNUSED_FLAG=yes

cd $BACKUP_DIR
for f in $(ls $UPLOADS/*.zip); do
  cp $f $BACKUP_DIR
done

tar czf backup-`date +%F`.tar.gz $UPLOADS
chmod 777 *.tar.gz

count=$(ls | grep backup | wc -l)
if [ $count -gt $KEEP ]; then
  ls -t | tail -n +$KEEP | xargs rm -rf
fi

read answer
if [ "$answer" == "y" ]; then
  rm -rf $UPLOADS/*
fi
