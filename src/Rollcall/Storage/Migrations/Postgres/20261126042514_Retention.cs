using Microsoft.EntityFrameworkCore.Migrations;

#nullable disable

namespace Rollcall.Storage.Migrations.Postgres
{
    /// <inheritdoc />
    public partial class Retention : Migration
    {
        /// <inheritdoc />
        protected override void Up(MigrationBuilder migrationBuilder)
        {
            migrationBuilder.AddColumn<bool>(
                name: "expired",
                table: "operations",
                type: "boolean",
                nullable: false,
                defaultValue: false);

            migrationBuilder.CreateTable(
                name: "retention_settings",
                columns: table => new
                {
                    district_id = table.Column<int>(type: "integer", nullable: false),
                    log_days = table.Column<int>(type: "integer", nullable: false),
                    audit_days = table.Column<int>(type: "integer", nullable: false),
                    sign_in_days = table.Column<int>(type: "integer", nullable: false),
                    looked_on = table.Column<string>(type: "text", nullable: true, collation: "C")
                },
                constraints: table =>
                {
                    table.PrimaryKey("PK_retention_settings", x => x.district_id);
                });
        }

        /// <inheritdoc />
        protected override void Down(MigrationBuilder migrationBuilder)
        {
            migrationBuilder.DropTable(
                name: "retention_settings");

            migrationBuilder.DropColumn(
                name: "expired",
                table: "operations");
        }
    }
}
