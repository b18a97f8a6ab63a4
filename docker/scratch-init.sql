-- What the public image makes of its environment; see compose.scratch.yaml. A server runs it whenever it starts.
SET sql_log_bin = 0;
ALTER USER 'root'@'localhost' IDENTIFIED BY 'only-to-try';
CREATE USER IF NOT EXISTS 'root'@'%' IDENTIFIED BY 'only-to-try';
GRANT ALL ON *.* TO 'root'@'%' WITH GRANT OPTION;
CREATE DATABASE IF NOT EXISTS shop;
