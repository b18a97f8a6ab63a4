-- View: object_version
--
-- What is installed here, in which version, by whom.
CREATE OR REPLACE
    SQL SECURITY DEFINER
VIEW object_version (name, kind, api_version, version, sha256, installed_at, installed_by) AS
SELECT i.object_name, i.kind, i.api_version, i.version, i.sha256, i.installed_at, i.installed_by
  FROM installed_object AS i
