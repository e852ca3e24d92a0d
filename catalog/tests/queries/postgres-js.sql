-- What postgres-js asks about types and relations, parameters put in. {name} stands for the OID of a relation.

select b.oid, b.typarray
      from pg_catalog.pg_type a
      left join pg_catalog.pg_type b on b.oid = a.typelem
      where a.typcategory = 'A'
      group by b.oid, b.typarray
      order by b.oid
    ;

select '{a}'::text[] as x;
