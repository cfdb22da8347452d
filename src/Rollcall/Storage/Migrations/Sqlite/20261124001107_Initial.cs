using Microsoft.EntityFrameworkCore.Migrations;

#nullable disable

namespace Rollcall.Storage.Migrations.Sqlite
{
    /// <inheritdoc />
    public partial class Initial : Migration
    {
        /// <inheritdoc />
        protected override void Up(MigrationBuilder migrationBuilder)
        {
            migrationBuilder.CreateTable(
                name: "audit_entries",
                columns: table => new
                {
                    id = table.Column<long>(type: "INTEGER", nullable: false)
                        .Annotation("Sqlite:Autoincrement", true),
                    district_id = table.Column<int>(type: "INTEGER", nullable: false),
                    at = table.Column<long>(type: "INTEGER", nullable: false),
                    actor = table.Column<string>(type: "TEXT", nullable: false),
                    action = table.Column<string>(type: "TEXT", nullable: false),
                    details = table.Column<string>(type: "TEXT", nullable: false)
                },
                constraints: table =>
                {
                    table.PrimaryKey("PK_audit_entries", x => x.id);
                });

            migrationBuilder.CreateTable(
                name: "changes",
                columns: table => new
                {
                    district_id = table.Column<int>(type: "INTEGER", nullable: false),
                    operation_id = table.Column<long>(type: "INTEGER", nullable: false),
                    number = table.Column<long>(type: "INTEGER", nullable: false),
                    kind = table.Column<int>(type: "INTEGER", nullable: false),
                    outcome = table.Column<int>(type: "INTEGER", nullable: false),
                    patron_id = table.Column<long>(type: "INTEGER", nullable: true),
                    roster_id = table.Column<string>(type: "TEXT", nullable: true),
                    site_id = table.Column<int>(type: "INTEGER", nullable: true),
                    role_group = table.Column<int>(type: "INTEGER", nullable: false),
                    matched_by = table.Column<int>(type: "INTEGER", nullable: false),
                    held = table.Column<bool>(type: "INTEGER", nullable: false),
                    chained = table.Column<bool>(type: "INTEGER", nullable: false),
                    risk = table.Column<int>(type: "INTEGER", nullable: false),
                    candidates = table.Column<string>(type: "TEXT", nullable: true),
                    stale = table.Column<bool>(type: "INTEGER", nullable: false),
                    values = table.Column<string>(type: "TEXT", nullable: false),
                    link = table.Column<string>(type: "TEXT", nullable: true),
                    link_before = table.Column<string>(type: "TEXT", nullable: true),
                    reason = table.Column<string>(type: "TEXT", nullable: true),
                    warning = table.Column<string>(type: "TEXT", nullable: true)
                },
                constraints: table =>
                {
                    table.PrimaryKey("PK_changes", x => new { x.district_id, x.operation_id, x.number });
                });

            migrationBuilder.CreateTable(
                name: "data_protection_keys",
                columns: table => new
                {
                    id = table.Column<int>(type: "INTEGER", nullable: false)
                        .Annotation("Sqlite:Autoincrement", true),
                    friendly_name = table.Column<string>(type: "TEXT", nullable: true),
                    xml = table.Column<string>(type: "TEXT", nullable: true)
                },
                constraints: table =>
                {
                    table.PrimaryKey("PK_data_protection_keys", x => x.id);
                });

            migrationBuilder.CreateTable(
                name: "district_tenants",
                columns: table => new
                {
                    tenant_id = table.Column<string>(type: "TEXT", nullable: false),
                    district_id = table.Column<int>(type: "INTEGER", nullable: false),
                    allowed_at = table.Column<long>(type: "INTEGER", nullable: false)
                },
                constraints: table =>
                {
                    table.PrimaryKey("PK_district_tenants", x => x.tenant_id);
                });

            migrationBuilder.CreateTable(
                name: "districts",
                columns: table => new
                {
                    id = table.Column<int>(type: "INTEGER", nullable: false)
                        .Annotation("Sqlite:Autoincrement", true),
                    code = table.Column<string>(type: "TEXT", nullable: false),
                    name = table.Column<string>(type: "TEXT", nullable: false),
                    time_zone = table.Column<string>(type: "TEXT", nullable: false),
                    next_patron_id = table.Column<long>(type: "INTEGER", nullable: false),
                    created_at = table.Column<long>(type: "INTEGER", nullable: false)
                },
                constraints: table =>
                {
                    table.PrimaryKey("PK_districts", x => x.id);
                });

            migrationBuilder.CreateTable(
                name: "installation_settings",
                columns: table => new
                {
                    key = table.Column<string>(type: "TEXT", nullable: false),
                    value = table.Column<string>(type: "TEXT", nullable: false)
                },
                constraints: table =>
                {
                    table.PrimaryKey("PK_installation_settings", x => x.key);
                });

            migrationBuilder.CreateTable(
                name: "integrations",
                columns: table => new
                {
                    district_id = table.Column<int>(type: "INTEGER", nullable: false),
                    kind = table.Column<int>(type: "INTEGER", nullable: false),
                    enabled = table.Column<bool>(type: "INTEGER", nullable: false),
                    settings = table.Column<string>(type: "TEXT", nullable: false),
                    secret = table.Column<string>(type: "TEXT", nullable: true),
                    state = table.Column<string>(type: "TEXT", nullable: false)
                },
                constraints: table =>
                {
                    table.PrimaryKey("PK_integrations", x => new { x.district_id, x.kind });
                });

            migrationBuilder.CreateTable(
                name: "operations",
                columns: table => new
                {
                    id = table.Column<long>(type: "INTEGER", nullable: false)
                        .Annotation("Sqlite:Autoincrement", true),
                    district_id = table.Column<int>(type: "INTEGER", nullable: false),
                    kind = table.Column<int>(type: "INTEGER", nullable: false),
                    integration = table.Column<int>(type: "INTEGER", nullable: true),
                    status = table.Column<int>(type: "INTEGER", nullable: false),
                    preview_only = table.Column<bool>(type: "INTEGER", nullable: false),
                    requested_by = table.Column<string>(type: "TEXT", nullable: false),
                    created_at = table.Column<long>(type: "INTEGER", nullable: false),
                    started_at = table.Column<long>(type: "INTEGER", nullable: true),
                    finished_at = table.Column<long>(type: "INTEGER", nullable: true),
                    lease_until = table.Column<long>(type: "INTEGER", nullable: false),
                    fence = table.Column<long>(type: "INTEGER", nullable: false),
                    node = table.Column<string>(type: "TEXT", nullable: true),
                    stage = table.Column<int>(type: "INTEGER", nullable: false),
                    stage_text = table.Column<string>(type: "TEXT", nullable: true),
                    done = table.Column<long>(type: "INTEGER", nullable: false),
                    total = table.Column<long>(type: "INTEGER", nullable: false),
                    options = table.Column<string>(type: "TEXT", nullable: false),
                    counts = table.Column<string>(type: "TEXT", nullable: false),
                    warnings = table.Column<string>(type: "TEXT", nullable: false),
                    error = table.Column<string>(type: "TEXT", nullable: true),
                    planned = table.Column<bool>(type: "INTEGER", nullable: false),
                    plan_size = table.Column<long>(type: "INTEGER", nullable: false),
                    applied_to = table.Column<long>(type: "INTEGER", nullable: false),
                    held_applied_to = table.Column<long>(type: "INTEGER", nullable: false),
                    approved_by = table.Column<string>(type: "TEXT", nullable: true),
                    approved_at = table.Column<long>(type: "INTEGER", nullable: true),
                    cancel_requested = table.Column<bool>(type: "INTEGER", nullable: false)
                },
                constraints: table =>
                {
                    table.PrimaryKey("PK_operations", x => x.id);
                });

            migrationBuilder.CreateTable(
                name: "patron_links",
                columns: table => new
                {
                    district_id = table.Column<int>(type: "INTEGER", nullable: false),
                    patron_id = table.Column<long>(type: "INTEGER", nullable: false),
                    aliases = table.Column<string>(type: "TEXT", nullable: true),
                    role_group = table.Column<int>(type: "INTEGER", nullable: false),
                    username = table.Column<string>(type: "TEXT", nullable: true),
                    guardians = table.Column<string>(type: "TEXT", nullable: true),
                    homeroom_class = table.Column<string>(type: "TEXT", nullable: true),
                    login_disabled = table.Column<bool>(type: "INTEGER", nullable: false),
                    absent = table.Column<bool>(type: "INTEGER", nullable: false),
                    status_before = table.Column<int>(type: "INTEGER", nullable: true),
                    sync_hash = table.Column<long>(type: "INTEGER", nullable: false)
                },
                constraints: table =>
                {
                    table.PrimaryKey("PK_patron_links", x => new { x.district_id, x.patron_id });
                });

            migrationBuilder.CreateTable(
                name: "patrons",
                columns: table => new
                {
                    district_id = table.Column<int>(type: "INTEGER", nullable: false),
                    id = table.Column<long>(type: "INTEGER", nullable: false),
                    barcode = table.Column<string>(type: "TEXT", nullable: false),
                    community_id = table.Column<string>(type: "TEXT", nullable: true),
                    government_id = table.Column<string>(type: "TEXT", nullable: true),
                    location = table.Column<string>(type: "TEXT", nullable: true),
                    second_location = table.Column<string>(type: "TEXT", nullable: true),
                    last_name = table.Column<string>(type: "TEXT", nullable: false),
                    first_name = table.Column<string>(type: "TEXT", nullable: true),
                    middle_name = table.Column<string>(type: "TEXT", nullable: true),
                    level = table.Column<string>(type: "TEXT", nullable: true),
                    phone = table.Column<string>(type: "TEXT", nullable: true),
                    email = table.Column<string>(type: "TEXT", nullable: true),
                    status = table.Column<int>(type: "INTEGER", nullable: false),
                    policy = table.Column<string>(type: "TEXT", nullable: true),
                    sex = table.Column<string>(type: "TEXT", nullable: true),
                    birthdate = table.Column<string>(type: "TEXT", nullable: true),
                    graduation_date = table.Column<string>(type: "TEXT", nullable: true),
                    additional_contact = table.Column<string>(type: "TEXT", nullable: true),
                    other_emails = table.Column<string>(type: "TEXT", nullable: true),
                    site_id = table.Column<int>(type: "INTEGER", nullable: true),
                    nickname = table.Column<string>(type: "TEXT", nullable: true),
                    guid = table.Column<string>(type: "TEXT", nullable: true),
                    group = table.Column<int>(type: "INTEGER", nullable: false),
                    site_access = table.Column<string>(type: "TEXT", nullable: true),
                    notes = table.Column<string>(type: "TEXT", nullable: true),
                    expiration = table.Column<string>(type: "TEXT", nullable: true),
                    stamps = table.Column<string>(type: "TEXT", nullable: true),
                    do_not_transfer = table.Column<bool>(type: "INTEGER", nullable: false),
                    kept_fields = table.Column<string>(type: "TEXT", nullable: true),
                    barcode_key = table.Column<string>(type: "TEXT", nullable: false),
                    email_key = table.Column<string>(type: "TEXT", nullable: true),
                    name_key = table.Column<string>(type: "TEXT", nullable: false),
                    search_key = table.Column<string>(type: "TEXT", nullable: false),
                    created_at = table.Column<long>(type: "INTEGER", nullable: false),
                    updated_at = table.Column<long>(type: "INTEGER", nullable: false),
                    version = table.Column<long>(type: "INTEGER", nullable: false)
                },
                constraints: table =>
                {
                    table.PrimaryKey("PK_patrons", x => new { x.district_id, x.id });
                });

            migrationBuilder.CreateTable(
                name: "policies",
                columns: table => new
                {
                    district_id = table.Column<int>(type: "INTEGER", nullable: false),
                    code = table.Column<string>(type: "TEXT", nullable: false),
                    name = table.Column<string>(type: "TEXT", nullable: false)
                },
                constraints: table =>
                {
                    table.PrimaryKey("PK_policies", x => new { x.district_id, x.code });
                });

            migrationBuilder.CreateTable(
                name: "review_items",
                columns: table => new
                {
                    district_id = table.Column<int>(type: "INTEGER", nullable: false),
                    id = table.Column<int>(type: "INTEGER", nullable: false),
                    roster_id = table.Column<string>(type: "TEXT", nullable: false),
                    role_group = table.Column<int>(type: "INTEGER", nullable: false),
                    status = table.Column<int>(type: "INTEGER", nullable: false),
                    reason = table.Column<string>(type: "TEXT", nullable: false),
                    values = table.Column<string>(type: "TEXT", nullable: false),
                    candidates = table.Column<string>(type: "TEXT", nullable: false),
                    operation_id = table.Column<long>(type: "INTEGER", nullable: false),
                    created_at = table.Column<long>(type: "INTEGER", nullable: false),
                    decided_at = table.Column<long>(type: "INTEGER", nullable: true),
                    decided_by = table.Column<string>(type: "TEXT", nullable: true)
                },
                constraints: table =>
                {
                    table.PrimaryKey("PK_review_items", x => new { x.district_id, x.id });
                });

            migrationBuilder.CreateTable(
                name: "site_defaults",
                columns: table => new
                {
                    district_id = table.Column<int>(type: "INTEGER", nullable: false),
                    site_id = table.Column<int>(type: "INTEGER", nullable: false),
                    role_group = table.Column<int>(type: "INTEGER", nullable: false),
                    next_barcode = table.Column<string>(type: "TEXT", nullable: true),
                    policy = table.Column<string>(type: "TEXT", nullable: true),
                    group = table.Column<int>(type: "INTEGER", nullable: true)
                },
                constraints: table =>
                {
                    table.PrimaryKey("PK_site_defaults", x => new { x.district_id, x.site_id, x.role_group });
                });

            migrationBuilder.CreateTable(
                name: "site_orgs",
                columns: table => new
                {
                    district_id = table.Column<int>(type: "INTEGER", nullable: false),
                    kind = table.Column<int>(type: "INTEGER", nullable: false),
                    org_id = table.Column<string>(type: "TEXT", nullable: false),
                    site_id = table.Column<int>(type: "INTEGER", nullable: false),
                    position = table.Column<int>(type: "INTEGER", nullable: false),
                    org_name = table.Column<string>(type: "TEXT", nullable: true),
                    org_type = table.Column<string>(type: "TEXT", nullable: true)
                },
                constraints: table =>
                {
                    table.PrimaryKey("PK_site_orgs", x => new { x.district_id, x.kind, x.org_id });
                });

            migrationBuilder.CreateTable(
                name: "sites",
                columns: table => new
                {
                    district_id = table.Column<int>(type: "INTEGER", nullable: false),
                    id = table.Column<int>(type: "INTEGER", nullable: false),
                    code = table.Column<string>(type: "TEXT", nullable: false),
                    name = table.Column<string>(type: "TEXT", nullable: false),
                    guid = table.Column<string>(type: "TEXT", nullable: true),
                    next_barcode = table.Column<string>(type: "TEXT", nullable: false),
                    default_policy = table.Column<string>(type: "TEXT", nullable: true),
                    default_group = table.Column<int>(type: "INTEGER", nullable: false)
                },
                constraints: table =>
                {
                    table.PrimaryKey("PK_sites", x => new { x.district_id, x.id });
                });

            migrationBuilder.CreateIndex(
                name: "ix_audit_entries_district_id_id",
                table: "audit_entries",
                columns: new[] { "district_id", "id" });

            migrationBuilder.CreateIndex(
                name: "ix_changes_district_id_patron_id_operation_id_number",
                table: "changes",
                columns: new[] { "district_id", "patron_id", "operation_id", "number" });

            migrationBuilder.CreateIndex(
                name: "ix_district_tenants_district_id",
                table: "district_tenants",
                column: "district_id");

            migrationBuilder.CreateIndex(
                name: "ix_districts_code",
                table: "districts",
                column: "code",
                unique: true);

            migrationBuilder.CreateIndex(
                name: "ix_operations_district_id_id",
                table: "operations",
                columns: new[] { "district_id", "id" });

            migrationBuilder.CreateIndex(
                name: "ix_operations_running",
                table: "operations",
                column: "district_id",
                unique: true,
                filter: "status = 1");

            migrationBuilder.CreateIndex(
                name: "ix_operations_status",
                table: "operations",
                column: "status");

            migrationBuilder.CreateIndex(
                name: "ix_patrons_district_id_barcode_key",
                table: "patrons",
                columns: new[] { "district_id", "barcode_key" },
                unique: true);

            migrationBuilder.CreateIndex(
                name: "ix_patrons_district_id_guid",
                table: "patrons",
                columns: new[] { "district_id", "guid" },
                unique: true,
                filter: "guid is not null");

            migrationBuilder.CreateIndex(
                name: "ix_patrons_district_id_name_key_id",
                table: "patrons",
                columns: new[] { "district_id", "name_key", "id" });

            migrationBuilder.CreateIndex(
                name: "ix_patrons_district_id_site_id_status",
                table: "patrons",
                columns: new[] { "district_id", "site_id", "status" });

            migrationBuilder.CreateIndex(
                name: "ix_review_items_district_id_roster_id",
                table: "review_items",
                columns: new[] { "district_id", "roster_id" },
                unique: true);

            migrationBuilder.CreateIndex(
                name: "ix_sites_district_id_code",
                table: "sites",
                columns: new[] { "district_id", "code" },
                unique: true);
        }

        /// <inheritdoc />
        protected override void Down(MigrationBuilder migrationBuilder)
        {
            migrationBuilder.DropTable(
                name: "audit_entries");

            migrationBuilder.DropTable(
                name: "changes");

            migrationBuilder.DropTable(
                name: "data_protection_keys");

            migrationBuilder.DropTable(
                name: "district_tenants");

            migrationBuilder.DropTable(
                name: "districts");

            migrationBuilder.DropTable(
                name: "installation_settings");

            migrationBuilder.DropTable(
                name: "integrations");

            migrationBuilder.DropTable(
                name: "operations");

            migrationBuilder.DropTable(
                name: "patron_links");

            migrationBuilder.DropTable(
                name: "patrons");

            migrationBuilder.DropTable(
                name: "policies");

            migrationBuilder.DropTable(
                name: "review_items");

            migrationBuilder.DropTable(
                name: "site_defaults");

            migrationBuilder.DropTable(
                name: "site_orgs");

            migrationBuilder.DropTable(
                name: "sites");
        }
    }
}
